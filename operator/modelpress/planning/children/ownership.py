"""Whose an object of a needed name is. Two names are never shared: what is not ours is left alone."""

from collections.abc import Iterable
from enum import Enum

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation
from modelpress.planning.types import Body, Observed

DELETION_WAIT_SECONDS = 5.0  # the end of an object that is not in our watches causes no event


class Claim(Enum):
    """Relation of an object to a ModelDeployment."""

    OURS = "ours"
    ADOPT = "has our label and no controller"
    WAIT = "is being deleted, or belongs to an earlier resource of our name"
    CONFLICT = "belongs to somebody else"


def claim(body: Body, resource: Body) -> Claim:
    """Return whose an object is."""
    owner = objects.controller(body)
    if owner is None:
        labelled = objects.label(body, names.NAME_LABEL) == objects.name_of(resource)
        if not labelled:
            return Claim.CONFLICT
        return Claim.WAIT if objects.deleting(body) else Claim.ADOPT
    if owner.get("uid") == objects.uid_of(resource):
        return Claim.WAIT if objects.deleting(body) else Claim.OURS
    ours_before = (
        owner.get("kind") == names.KIND
        and str(owner.get("apiVersion", "")).startswith(f"{names.GROUP}/")
        and owner.get("name") == objects.name_of(resource)
    )
    return Claim.WAIT if ours_before else Claim.CONFLICT


def doubtful(observed: Observed, applied: Iterable[Body]) -> bool:
    """Return whether to ask first if the owner of objects to apply stays: a watch may not show that it goes.

    One that is there without an owner was left on purpose by an orphan deletion, and an owner that goes takes
    it along. One that is missing, though the resource was looked at before, may have gone with it.
    """
    resource = observed.resource
    known = objects.number(resource, "status", "observedGeneration") > 0
    found = (objects.named(observed.of_kind(body["kind"]), objects.name_of(body)) for body in applied)
    return any(known if body is None else claim(body, resource) is Claim.ADOPT for body in found)


def name_conflict(body: Body, resource: Body, kind: str) -> Explanation | None:
    """Return why an object of a needed name cannot be used: NameConflict or WaitingForDeletion."""
    found = claim(body, resource)
    name = objects.name_of(body)
    if found is Claim.CONFLICT:
        owner = objects.controller(body)
        whose = f"belongs to {owner.get('kind')} {owner.get('name')}" if owner else "is not ours"
        return Explanation(
            Reason.NAME_CONFLICT, f"{kind} {name} {whose}; rename the ModelDeployment or remove the {kind}"
        )
    if found is Claim.ADOPT and kind == "Deployment" and not _selects_workers(body, resource):
        return Explanation(
            Reason.NAME_CONFLICT,
            f"{kind} {name} has our label and selects other pods, which nobody can change; remove the {kind}",
        )
    if found is Claim.WAIT:
        return Explanation(Reason.WAITING_FOR_DELETION, f"{kind} {name} is being deleted")
    return None


def _selects_workers(deployment: Body, resource: Body) -> bool:
    selector = names.worker_selector(objects.name_of(resource))
    return bool(objects.dig(deployment, "spec", "selector") == {"matchLabels": selector})
