"""Whether pods lack only what the cluster may have later: devices and room on nodes, or quota.

That says nothing about their revision, unless no pod of it fits anywhere.
"""

from collections.abc import Sequence

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import pod_problems
from modelpress.planning.types import Body
from modelpress.planning.view import View

_SHORTAGES = (Reason.PODS_UNSCHEDULABLE, Reason.QUOTA_EXCEEDED)


def lacks_only_room(view: View, pods: Sequence[Body]) -> bool:
    """Return whether some of a revision's pods are not ready or not there, all of those for want of room."""
    causes = _causes(view, pods)
    return bool(causes) and all(map(_is_shortage, causes))


def is_excused(view: View, revision: str, pods: Sequence[Body]) -> bool:
    """Return whether a revision's pods are late only because the cluster is full.

    One of them was ready, or those of another revision do not fit either.
    """
    if any(objects.is_true(pod, "Ready") for pod in pods):
        return all(map(_is_shortage, _causes(view, pods)))  # none: old pods wait for room
    others = [pod for pod in view.worker_pods if objects.label(pod, names.REVISION_LABEL) != revision]
    return lacks_only_room(view, pods) and any(
        _is_shortage(pod_problems.explain_pod(pod, view.observed.events)) for pod in others
    )


def _causes(view: View, pods: Sequence[Body]) -> list[Explanation | None]:
    """Return why pods are not ready, or cannot be made; None for each of which that is not known."""
    waiting = [pod for pod in pods if not objects.is_true(pod, "Ready")]
    causes = [pod_problems.explain_pod(pod, view.observed.events) for pod in waiting]
    refused = pod_problems.refused_pods(view.deployment) if view.deployment else None
    return [*causes, refused] if refused is not None else causes


def _is_shortage(why: Explanation | None) -> bool:
    return why is not None and why.reason in _SHORTAGES
