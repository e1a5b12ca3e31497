"""Which revision the Deployment runs: the desired one, or after a failed rollout the current one again.

`current` moves only when a rollout has completed. Only the Deployment's own state is read for that; pure
scaling of the current revision is no rollout.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from modelpress.api.conditions import ConditionType, Reason
from modelpress.api.status import Failure
from modelpress.planning.children import objects
from modelpress.planning.children.in_place import out_of_place
from modelpress.planning.explanation import Explanation, final, tried_again
from modelpress.planning.problems import pod_problems
from modelpress.planning.render import deployment as render_deployment
from modelpress.planning.rollouts import failures
from modelpress.planning.rollouts.revisions import Revision, find, running
from modelpress.planning.rollouts.strategy import GAP, leaves_gap
from modelpress.planning.types import Body
from modelpress.planning.view import View, of_revision


@dataclass(frozen=True)
class Rollout:
    """What the Deployment is to run, and how far it is."""

    target: Revision | None = None
    completed: bool = False  # the target's pods are all there and available
    working: Explanation | None = None
    stalled: Explanation | None = None
    failed: Failure | None = None  # of the desired revision: what to remember


def decide_rollout(view: View, known: tuple[Revision, ...], desired: Revision | None) -> Rollout:
    """Return what the Deployment runs next.

    `desired` is None where no new revision may start (a Job runs, the gate failed, the resource is suspended
    or stalled): then what runs goes on.
    """
    current = find(known, view.current_name)
    goal = desired or running(view, known) or current
    if goal is None:
        return Rollout()
    completed = is_complete(view, goal)
    if current is not None and goal.name == current.name:
        return Rollout(goal, completed, working=None if _is_settled(view, goal) else _moving(view, goal))
    if completed:
        return Rollout(goal, completed)
    before = current or running(view, known) or (goal if goal.stored else None)
    refusal = failures.refusal(view, goal)
    if refusal is not None and not failures.is_final(refusal.reason):
        return Rollout(before, stalled=tried_again(refusal))
    refused = failures.of_revision(view, goal, refusal) if refusal is not None else None
    failed = refused or failures.blocking_revision(view, goal) or _failure(view, goal, current)
    if failed:
        return Rollout(before, stalled=final(failures.explain(failed)), failed=failed)
    return Rollout(goal, working=_moving(view, goal, replaced=current is not None))


def is_complete(view: View, revision: Revision) -> bool:
    """Return whether the Deployment runs exactly this revision, with all its pods available and no others."""
    deployment = view.deployment
    if deployment is None or out_of_place(render_deployment.render(view, revision), deployment):
        return False
    replicas = objects.number(deployment, "spec", "replicas")
    total, updated, available = (
        objects.number(deployment, "status", field)
        for field in ("replicas", "updatedReplicas", "availableReplicas")
    )
    return _is_observed(deployment) and updated == total == available == replicas


def _is_observed(deployment: Body) -> bool:
    seen = objects.number(deployment, "status", "observedGeneration")
    return seen >= objects.number(deployment, "metadata", "generation")


def _is_settled(view: View, current: Revision) -> bool:
    """Return whether no pod of another revision is left or on its way; how many there are is scaling."""
    deployment = view.deployment
    if deployment is None:
        return False
    begun = objects.number(deployment, "status", "observedGeneration") > 0
    if not begun or view.running_revision != current.name:
        return False
    total, updated = (
        objects.number(deployment, "status", field) for field in ("replicas", "updatedReplicas")
    )
    return updated == total


def _failure(view: View, goal: Revision, current: Revision | None) -> Failure | None:
    """Return the failure of the rollout that is under way, or None."""
    deployment = view.deployment
    if deployment is None or view.running_revision != goal.name:
        return None
    began = _began(view) if current else None  # without one, the pods of an earlier try stay
    of_goal = of_revision(view.worker_pods, goal.name)
    pods = [pod for pod in of_goal if not _is_before(objects.created(pod), began)]
    crashes = [why for pod in pods if (why := pod_problems.keeps_crashing(pod)) is not None]
    late = _is_late(deployment, began) and not _may_heal(view, pods)
    if not (crashes or late):
        return None
    cause = next(iter(crashes), None) or view.pod_problem(goal.name)
    text = f"{cause.reason.value}: {cause.message}" if cause else "its pods did not become ready in time"
    then = f"; {current.name} was restored" if current else ""
    why = Explanation(Reason.ROLLOUT_FAILED, f"revision {goal.name} did not become ready{then}: {text}")
    return failures.of_revision(view, goal, why)


def _began(view: View) -> datetime | None:
    """Return the time before which pods and conditions speak of an earlier try of the same revision.

    Those stay for a moment after a failed try was undone; a new try begins with a change of Stalled.
    """
    stalled = objects.condition(view.resource, ConditionType.STALLED)
    return objects.parse_time(objects.dig(stalled, "lastTransitionTime"))


def _is_late(deployment: Body, began: datetime | None) -> bool:
    """Return whether this rollout passed its deadline."""
    progressing = objects.condition(deployment, "Progressing")
    if progressing is None or progressing.get("reason") != "ProgressDeadlineExceeded":
        return False
    return _is_observed(deployment) and not _is_before(progressing.get("lastUpdateTime"), began)


def _may_heal(view: View, pods: Iterable[Body]) -> bool:
    """Return whether all that keeps pods from being ready is, or was just now, what may heal by itself.

    The revision before would not start without its store either.
    """
    allowed = view.spec.progress_deadline_seconds
    hindered = False
    for pod in pods:
        healed = pod_problems.healed_at(pod)
        recent = healed is not None and (view.observed.now - healed).total_seconds() < allowed
        if pod_problems.waits_to_heal(pod) or recent:
            hindered = True
        elif pod_problems.explain_pod(pod, view.observed.events) is not None:
            return False
    return hindered


def _is_before(time: str | None, began: datetime | None) -> bool:
    moment = objects.parse_time(time)
    return moment is not None and began is not None and moment < began


def _moving(view: View, goal: Revision, *, replaced: bool = False) -> Explanation:
    problem = view.pod_problem(goal.name)
    if problem:
        return problem
    ready = sum(objects.is_true(pod, "Ready") for pod in of_revision(view.worker_pods, goal.name))
    text = f"revision {goal.name}: {ready} of {view.spec.replicas} pods are ready"
    return Explanation(Reason.ROLLING_OUT, f"{text}; {GAP}" if replaced and leaves_gap(view) else text)
