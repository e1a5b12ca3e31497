"""Which children are missing or differ from what is desired."""

from collections.abc import Iterator

from modelpress.api.conditions import Reason
from modelpress.planning.artifacts.decision import ArtifactDecision
from modelpress.planning.children import objects, repairs
from modelpress.planning.children.in_place import out_of_place, stamped
from modelpress.planning.children.ownership import Claim
from modelpress.planning.render import deployment, disruptionbudget, networkpolicy, revision, service
from modelpress.planning.rollouts.revisions import Revision, find
from modelpress.planning.rollouts.rollout import Rollout
from modelpress.planning.types import Body, EventNote, Ref
from modelpress.planning.view import View

_CREATED_ONCE = ("Job", "ControllerRevision")


def missing(
    view: View, artifact: ArtifactDecision, rollout: Rollout, revisions: tuple[Revision, ...]
) -> tuple[Body, ...]:
    """Return the objects to apply, in order: the NetworkPolicy comes before the first pod.

    The PodDisruptionBudget comes last: pods can do without it where the cluster refuses one.
    """
    desired = _desired(view, artifact, rollout, revisions)
    return tuple(_marked(body) for body in desired if _is_due(view, body))


def obsolete_budgets(view: View) -> tuple[Ref, ...]:
    """Return the PodDisruptionBudget where at most one pod is desired: it would protect nothing."""
    if disruptionbudget.is_desired(view):
        return ()
    budgets = [
        body for body in view.observed.disruption_budgets if view.claim(body) in (Claim.OURS, Claim.ADOPT)
    ]
    return tuple(objects.ref_to(body, "PodDisruptionBudget") for body in budgets)


def budget_warnings(view: View) -> tuple[EventNote, ...]:
    """Return the event to write where somebody else's PodDisruptionBudget has the name of ours."""
    why = view.name_conflict("PodDisruptionBudget", view.name)
    if why is None or why.reason is not Reason.NAME_CONFLICT or not disruptionbudget.is_desired(view):
        return ()
    return (EventNote("Warning", Reason.DISRUPTION_BUDGET_REFUSED.value, why.message, once=True),)


def _desired(
    view: View, artifact: ArtifactDecision, rollout: Rollout, revisions: tuple[Revision, ...]
) -> Iterator[Body]:
    target = rollout.target
    if target or artifact.job:
        yield networkpolicy.render(view)
    serving = find(revisions, view.current_name)
    for kept in {each.name: each for each in (serving, target) if each}.values():
        yield revision.render(view, kept)
    if target:
        yield service.render(view)
        yield deployment.render(view, target)
    if artifact.create:
        yield artifact.create
    if target and disruptionbudget.is_desired(view):
        yield disruptionbudget.render(view)


def _marked(body: Body) -> Body:
    """Return what is kept in place with the hash of its content."""
    return body if body["kind"] in _CREATED_ONCE else stamped(body)


def _is_due(view: View, desired: Body) -> bool:
    kind, name = desired["kind"], objects.name_of(desired)
    found = objects.named(view.observed.of_kind(kind), name)
    if found is None:
        return True
    if view.name_conflict(kind, name) is not None:
        return False
    if kind in _CREATED_ONCE:
        return view.claim(found) is not Claim.OURS
    fields = out_of_place(desired, found)
    return bool(fields) and repairs.is_due(view.observed, desired, fields)
