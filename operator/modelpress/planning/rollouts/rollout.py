"""Which revision the Deployment runs: the desired one, or after a failed rollout the current one again.

`current` moves only when a rollout has completed and pods of it are ready: at zero replicas the new revision
is put in place, and its first pod judges it. What the cluster has no room for is no fault of a revision whose
other pods are ready. Pure scaling of the current revision is no rollout.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelpress.api.conditions import ConditionType, Reason
from modelpress.api.status import Failure
from modelpress.planning.children import objects
from modelpress.planning.children.in_place import out_of_place
from modelpress.planning.conditions import PASSING
from modelpress.planning.explanation import Explanation, final, tried_again
from modelpress.planning.problems import pod_problems
from modelpress.planning.render import deployment as render_deployment
from modelpress.planning.rollouts import failures
from modelpress.planning.rollouts.revisions import Revision, find, running
from modelpress.planning.rollouts.room import is_excused, lacks_only_room
from modelpress.planning.rollouts.strategy import GAP, leaves_gap
from modelpress.planning.types import Body
from modelpress.planning.view import View, of_revision

_EXCEEDED = "ProgressDeadlineExceeded"
_MOMENT = 0.1  # of the deadline: kubelets that were cut off report in this time


@dataclass(frozen=True)
class Rollout:
    """What the Deployment is to run, and how far it is."""

    target: Revision | None = None
    completed: bool = False  # the target's pods are all there and available, as far as there is room for them
    idle: bool = False  # the target is in place at zero replicas, and no pod of it has been ready
    working: Explanation | None = None
    stalled: Explanation | None = None
    failed: Failure | None = None  # of the desired revision: what to remember
    requeue: float | None = None  # seconds until a deadline that the Deployment does not count


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
    idle = _is_idle(view, goal)
    if idle or completed:
        return Rollout(goal, completed=not idle, idle=idle)
    before = current or running(view, known) or (goal if goal.stored else None)
    refusal = failures.refusal(view, goal)
    if refusal is not None and not failures.is_final(refusal.reason):
        why = tried_again(refusal)
        return Rollout(before, working=why) if why.reason in PASSING else Rollout(before, stalled=why)
    refused = failures.of_revision(view, goal, refusal) if refusal is not None else None
    failed = refused or failures.blocking_revision(view, goal) or _failure(view, goal, current)
    if failed:
        return Rollout(before, stalled=final(failures.explain(failed)), failed=failed)
    working = _moving(view, goal, replaced=current is not None)
    left = _left(view, of_revision(view.worker_pods, goal.name))
    return Rollout(goal, working=working, requeue=left if left is not None and left > 0 else None)


def is_complete(view: View, revision: Revision) -> bool:
    """Return whether the Deployment runs exactly this revision and no other, with all its pods available but
    those that there is no room for.
    """
    deployment = view.deployment
    if deployment is None or out_of_place(render_deployment.render(view, revision), deployment):
        return False
    replicas = objects.number(deployment, "spec", "replicas")
    total, updated, available = (
        objects.number(deployment, "status", field)
        for field in ("replicas", "updatedReplicas", "availableReplicas")
    )
    if not _is_observed(deployment) or updated != total:
        return False
    if total == available == replicas:
        return True
    return available > 0 and lacks_only_room(view, of_revision(view.worker_pods, revision.name))


def _is_observed(deployment: Body) -> bool:
    seen = objects.number(deployment, "status", "observedGeneration")
    return seen >= objects.number(deployment, "metadata", "generation")


def _is_idle(view: View, revision: Revision) -> bool:
    """Return whether a revision is in place at zero replicas; what else is put right there is no rollout."""
    deployment = view.deployment
    if view.spec.replicas or deployment is None or view.running_revision != revision.name:
        return False
    begun = objects.number(deployment, "status", "observedGeneration") > 0
    pods = [objects.number(deployment, part, "replicas") for part in ("spec", "status")]
    return begun and not any(pods)


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
    late = _is_late(view, deployment, pods, began)
    hindered = _may_heal(view, pods) or is_excused(view, goal.name, pods)
    if not crashes and (not late or hindered):
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


def _is_late(view: View, deployment: Body, pods: Sequence[Body], began: datetime | None) -> bool:
    """Return whether this rollout passed its deadline."""
    if not _is_observed(deployment):
        return False
    progressing = objects.condition(deployment, "Progressing") or {}
    exceeded = progressing.get("reason") == _EXCEEDED
    if exceeded and _is_before(progressing.get("lastUpdateTime"), began):
        return False
    left = _left(view, pods)
    return left is not None and left <= 0


def _left(view: View, pods: Sequence[Body]) -> float | None:
    """Return the seconds left to pods that are not ready; None while the Deployment counts them.

    One that was complete at zero replicas does not count: scaling up is no rollout for it.
    """
    progressing = objects.condition(view.deployment or {}, "Progressing") or {}
    since = [_waits_since(pod) for pod in pods if not objects.is_true(pod, "Ready")]
    if progressing.get("reason") == _EXCEEDED:
        return _left_after_deadline(view, since, str(progressing.get("lastUpdateTime")))
    if progressing.get("reason") != "NewReplicaSetAvailable":
        return None
    refused = objects.condition(view.deployment or {}, "ReplicaFailure") or {}
    if refused.get("status") == "True":
        since.append(str(refused.get("lastTransitionTime")))
    return _left_of_deadline(view, since) if since else None


def _left_after_deadline(view: View, since: Sequence[str], passed: str) -> float:
    """Return the seconds left to pods that wait `since` these times, once the Deployment's deadline passed.

    Its time runs while the API server is away, too: then no pod is made, and none can say that it is ready.
    So each that was made late has the time of one made at once, and all a moment to say it.
    """
    allowed, held = view.spec.progress_deadline_seconds, objects.age(passed, view.observed.now)
    owed = _left_of_deadline(view, since) if since else 0.0
    return min(max(_MOMENT * allowed - held, owed), allowed - held)


def _left_of_deadline(view: View, since: Sequence[str]) -> float:
    longest = max(objects.age(each, view.observed.now) for each in since)
    return view.spec.progress_deadline_seconds - longest


def _waits_since(pod: Body) -> str:
    """Return since when a pod has not been ready."""
    ready = objects.condition(pod, "Ready") or {}
    return str(ready.get("lastTransitionTime") or objects.created(pod))


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
