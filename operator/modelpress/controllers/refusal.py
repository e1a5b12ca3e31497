"""Which errors of the API server refuse an object that the plan needs. Pure."""

from modelpress.api.conditions import Reason
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.planning.children.ownership import name_conflict
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import kubernetes_reasons
from modelpress.planning.types import Body

# What people's settings go into, and what it means that the server finds them invalid.
_INVALID = {
    "Deployment": Reason.INVALID_POD_SETTINGS,
    "Job": Reason.INVALID_POD_SETTINGS,
    "Service": Reason.INVALID_SPEC,
}


def require_ours(existing: Body, desired: Body) -> None:
    """Return where an object of the desired one's name is the ModelDeployment's own, or may be adopted.

    Raises Stale where it belongs to an earlier ModelDeployment of this name (it is being collected), and
    TemplateRefused with NameConflict where it is somebody else's.
    """
    owner = desired["metadata"]["ownerReferences"][0]
    found = name_conflict(
        existing, {"metadata": {"name": owner["name"], "uid": owner["uid"]}}, desired["kind"]
    )
    if found is None:
        return
    if found.reason is Reason.WAITING_FOR_DELETION:
        raise Stale
    raise TemplateRefused(found.reason, found.message)


def refusal_of(status: int, message: str, desired: Body) -> TemplateRefused | None:
    """Return what an error of the API server means for the ModelDeployment; None: nothing, it is our fault.

    The server reports an unknown field of an applied object with status 500.
    """
    invalid = status in (400, 422) or (status == 500 and "typed patch object" in message)
    if desired["kind"] == "PodDisruptionBudget" and (invalid or status == 403):
        return _refused(Reason.DISRUPTION_BUDGET_REFUSED, desired, message)  # not needed, so no fault of ours
    if (status == 403 and not _is_missing_right(message)) or (invalid and _is_by_policy(message)):
        return _refused(kubernetes_reasons.refusal(message), desired, message)
    if invalid and desired["kind"] in _INVALID:
        return _refused(_INVALID[desired["kind"]], desired, message)
    return None


def _is_missing_right(message: str) -> bool:
    """Return whether an answer says that the operator lacks a right, as RBAC puts it."""
    return 'User "' in message and " cannot " in message


def _is_by_policy(message: str) -> bool:
    """Return whether a webhook or a policy refused, whatever status it gave: the object need not be wrong."""
    return "denied the request" in message or "denied request:" in message


def _refused(reason: Reason, desired: Body, message: str) -> TemplateRefused:
    name = f"{desired['kind']} {desired['metadata']['name']}"
    why = Explanation(reason, f"{name} is refused: {message}")
    return TemplateRefused(why.reason, why.message)
