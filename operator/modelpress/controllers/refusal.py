"""Which errors refuse an object that the plan needs, and what the status then says. Pure.

This module must not import kopf or kubernetes.
"""

from collections.abc import Mapping
from typing import Any

from modelpress.api.conditions import ConditionType, Reason
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.planning import kubernetes_reasons
from modelpress.planning.note import note
from modelpress.planning.ownership import obstacle
from modelpress.planning.types import Body, Observed

# What a refusal means; Available and Compressed stay as planned: the old revision serves on.
_VERDICT = {ConditionType.READY: "False", ConditionType.RECONCILING: "False", ConditionType.STALLED: "True"}

# What people's settings go into, and what it means that the server finds them invalid.
_INVALID = {
    "Deployment": Reason.INVALID_POD_SETTINGS,
    "Job": Reason.INVALID_POD_SETTINGS,
    "Service": Reason.INVALID_SPEC,
}


def require_ours(existing: Body, wanted: Body) -> None:
    """Return where an object of the wanted one's name is the ModelDeployment's own, or may be adopted.

    Raises Stale where it belongs to an earlier ModelDeployment of this name (it is being collected), and
    TemplateRefused with NameConflict where it is somebody else's.
    """
    owner = wanted["metadata"]["ownerReferences"][0]
    found = obstacle(existing, {"metadata": {"name": owner["name"], "uid": owner["uid"]}}, wanted["kind"])
    if found is None:
        return
    if found.reason is Reason.WAITING_FOR_DELETION:
        raise Stale
    raise TemplateRefused(found.reason, found.message)


def refusal_of(status: int, message: str, wanted: Body) -> TemplateRefused | None:
    """Return what an error of the API server means for the ModelDeployment; None: nothing, it is our fault.

    The server reports an unknown field of an applied object with status 500.
    """
    invalid = status in (400, 422) or (status == 500 and "typed patch object" in message)
    if wanted["kind"] == "PodDisruptionBudget" and (invalid or status == 403):
        return _refused(Reason.DISRUPTION_BUDGET_REFUSED, wanted, message)  # not needed, so no fault of ours
    if status == 403 and not _is_missing_right(message):
        return _refused(kubernetes_reasons.refusal(message), wanted, message)
    if invalid and wanted["kind"] in _INVALID:
        return _refused(_INVALID[wanted["kind"]], wanted, message)
    return None


def _is_missing_right(message: str) -> bool:
    """Return whether an answer says that the operator lacks a right, as RBAC puts it."""
    return 'User "' in message and " cannot " in message


def _refused(reason: Reason, wanted: Body, message: str) -> TemplateRefused:
    name = f"{wanted['kind']} {wanted['metadata']['name']}"
    return TemplateRefused(*note(reason, f"{name} is refused: {message}"))


def refused_status(observed: Observed, planned: Body | None, refusal: TemplateRefused) -> dict[str, Any]:
    """Return the planned status (None: the observed one) with Stalled=True and the refusal's reason.

    The same refusal gives the same status, however often it happens: times move only with a condition.
    """
    resource = observed.resource
    current: Mapping[str, Any] = resource.get("status") or {}
    status = dict(planned if planned is not None else current)
    generation = resource["metadata"].get("generation", 0)
    old = {condition["type"]: condition for condition in current.get("conditions", [])}
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    for kind, value in _VERDICT.items():
        before = old.get(kind.value, {})
        moved = before.get("status") != value
        now = observed.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions[kind.value] = {
            "type": kind.value,
            "status": value,
            "reason": refusal.reason.value,
            "message": refusal.message,
            "lastTransitionTime": now if moved else before["lastTransitionTime"],
            "observedGeneration": generation,
        }
    status["conditions"] = list(conditions.values())
    status["observedGeneration"] = generation
    return status
