"""Whether an object of a wanted name may be changed, and whether an error refuses what was asked. Pure.

This module must not import kopf or kubernetes.
"""

from modelpress.api.conditions import Reason
from modelpress.api.names import API_VERSION, KIND, NAME_LABEL
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.planning.types import Body

_WITH_TEMPLATE = ("Deployment", "Job")  # what people's pod settings go into


def require_ours(existing: Body, wanted: Body) -> None:
    """Return where `existing` is the ModelDeployment's own, or carries its label and has no controller.

    Raises Stale where it belongs to an earlier ModelDeployment of this name (it is being collected), and
    TemplateRefused with NameConflict where it is somebody else's.
    """
    owner = wanted["metadata"]["ownerReferences"][0]
    references = existing["metadata"].get("ownerReferences") or ()
    controller = next((item for item in references if item.get("controller")), None)
    if controller is None:
        labels = existing["metadata"].get("labels") or {}
        if labels.get(NAME_LABEL) == owner["name"]:
            return
        raise TemplateRefused(Reason.NAME_CONFLICT, f"{_name(wanted)} exists and was not made by ModelPress")
    if controller["uid"] == owner["uid"]:
        return
    if (controller["apiVersion"], controller["kind"], controller["name"]) == (
        API_VERSION,
        KIND,
        owner["name"],
    ):
        raise Stale
    raise TemplateRefused(
        Reason.NAME_CONFLICT,
        f"{_name(wanted)} exists and belongs to {controller['kind']} {controller['name']}",
    )


def refusal_of(status: int, message: str, wanted: Body) -> TemplateRefused | None:
    """Return what an error of the API server means for the ModelDeployment; None: nothing, it is our fault.

    The server reports an unknown field of an applied object with status 500.
    """
    if status == 403 and not _is_missing_right(message):
        return TemplateRefused(Reason.QUOTA_EXCEEDED, f"{_name(wanted)} is refused: {message}")
    invalid = status in (400, 422) or (status == 500 and "typed patch object" in message)
    if invalid and wanted["kind"] in _WITH_TEMPLATE:
        return TemplateRefused(Reason.INVALID_POD_SETTINGS, f"{_name(wanted)} is refused: {message}")
    return None


def _is_missing_right(message: str) -> bool:
    """Return whether an answer says that the operator lacks a right, as RBAC puts it."""
    return 'User "' in message and " cannot " in message


def _name(body: Body) -> str:
    return f"{body['kind']} {body['metadata']['name']}"
