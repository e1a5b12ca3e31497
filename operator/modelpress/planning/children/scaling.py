"""An autoscaler that aims at the Deployment by mistake: its number is left, and the status says where to aim.

Whoever put the number right would add and end pods for ever: the autoscaler sets it again. What it set is
left until a person asks anew: by another spec.replicas, or another retry annotation.
"""

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.identity import digest
from modelpress.planning.children import managed_fields, objects
from modelpress.planning.explanation import Explanation, final
from modelpress.planning.view import View

# As the API server records them: HorizontalPodAutoscalers, and KEDA's steps from and to zero.
_AUTOSCALERS = frozenset({"kube-controller-manager", "keda"})
_HASH_LENGTH = 16


def mark(view: View) -> dict[str, str]:
    """Return the annotation of a Deployment whose replicas are left to an autoscaler: for what that holds."""
    return {names.LEFT_ANNOTATION: digest([view.spec.replicas, view.retry])[:_HASH_LENGTH]}


def misdirected(view: View) -> str | None:
    """Return the autoscaler that the Deployment's replicas are left to, or None."""
    deployment = view.deployment
    own = managed_fields.applied(deployment) if deployment else None
    if deployment is None or own is None or objects.dig(own, *managed_fields.REPLICAS) is not None:
        return None
    left_for = objects.annotation(deployment, names.LEFT_ANNOTATION)
    if left_for not in (None, mark(view)[names.LEFT_ANNOTATION]):
        return None
    manager = managed_fields.scaled_by(deployment)
    return manager if manager in _AUTOSCALERS else None


def explained(view: View) -> Explanation | None:
    """Return what a person has to do about an autoscaler that aims at the Deployment."""
    manager = misdirected(view)
    if manager is None:
        return None
    return final(
        Explanation(
            Reason.AUTOSCALER_MISDIRECTED,
            f"an autoscaler (field manager {manager}) sets the replicas of Deployment {view.name}, so that"
            f" spec.replicas is not followed; let its scaleTargetRef be apiVersion {names.API_VERSION},"
            f" kind {names.KIND}, name {view.name}",
        )
    )
