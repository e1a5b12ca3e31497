"""What a compression Job came to."""

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.errors import FINAL_EXIT_CODES, HEALING_EXIT_CODES
from modelpress.planning.artifacts.artifact import Artifact, from_result, store_in
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import pod_problems
from modelpress.planning.problems.object_events import explain_events
from modelpress.planning.render.pod import recipe_label
from modelpress.planning.types import Body, Observed, Ref

CONTAINER = "job"  # beside it there may be containers that a webhook has added
_ENDS = ("Complete", "Failed")  # types of conditions


class Phase(Enum):
    """Where a Job is."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RESULT_LOST = "succeeded, and its pod is gone"


class Progress(NamedTuple):
    """A Job's phase with what belongs to it."""

    phase: Phase
    artifact: Artifact | None = None  # where it succeeded
    why: Explanation | None = None  # where it failed, or what an active one waits for
    heals: bool = False  # it failed of what may heal by itself
    unseen: bool = False  # it has ended, and its pods must be read live before more is said


_UNSEEN = Progress(Phase.ACTIVE, unseen=True)


def progress(job: Body, observed: Observed, recipe_hash: str) -> Progress:
    """Return what a Job came to."""
    if objects.is_true(job, "Failed"):
        return _failed(job, observed)
    if objects.is_true(job, "Complete"):
        return _succeeded(job, observed, recipe_hash)
    return Progress(Phase.ACTIVE, why=_waits_for(job, observed))


def is_of(job: Body, recipe_hash: str) -> bool:
    """Return whether a Job is of a recipe."""
    return objects.label(job, names.RECIPE_LABEL) == recipe_label(recipe_hash)


def is_finished(job: Body) -> bool:
    """Return whether a Job has ended, well or not."""
    return any(objects.is_true(job, kind) for kind in _ENDS)


def finished_at(job: Body) -> str | None:
    """Return when a Job ended."""
    ended = next((objects.condition(job, kind) for kind in _ENDS if objects.is_true(job, kind)), None)
    return str(objects.dig(ended, "lastTransitionTime") or "") or None


def pods_of(job: Body, observed: Observed) -> tuple[Body, ...]:
    """Return a Job's pods, oldest first."""
    uid = objects.uid_of(job)
    pods = [pod for pod in observed.pods if (objects.controller(pod) or {}).get("uid") == uid]
    return tuple(sorted(pods, key=_order))


def last_failure(pods: Iterable[Body]) -> Explanation | None:
    """Return why the newest of the pods that failed did; None where that ends its Job in a moment."""
    failed = _newest_failed(pods)
    if failed is None:
        return None
    final = any(end.get("exitCode") in FINAL_EXIT_CODES for end in pod_problems.failed_ends(failed))
    return None if final and not _heals(failed) else pod_problems.explain_pod(failed)


def _heals(failed: Body) -> bool:
    """Return whether all that a pod failed of may heal while the spec stays as it is."""
    return pod_problems.failed_only_of(failed, HEALING_EXIT_CODES)


def running_seconds(job: Body, observed: Observed) -> float:
    """Return for how long a Job's container has been running; 0 where none is."""
    pods = pods_of(job, observed)
    return min((age for pod in pods for age in pod_problems.running_seconds(pod, observed.now)), default=0.0)


def has_run(job: Body, observed: Observed) -> bool:
    """Return whether the container of a Job has ever been started, as far as its pods and its counts tell."""
    if objects.number(job, "status", "failed") or objects.number(job, "status", "succeeded"):
        return True
    statuses = [status for pod in pods_of(job, observed) for status in _containers(pod)]
    return any(pod_problems.has_started(status) for status in statuses)


def result_of(job: Body, observed: Observed) -> str | None:
    """Return the result of a Job that ended well: what its pod says, else what was kept of it."""
    for pod in pods_of(job, observed):
        for status in _containers(pod):
            ended = objects.dig(status, "state", "terminated")
            if ended is not None and ended.get("exitCode") == 0:
                return str(ended.get("message") or "")
    return objects.annotation(job, names.RESULT_ANNOTATION)


def with_live_pods(observed: Observed, job: Ref, pods: Iterable[Body]) -> Observed:
    """Return an observation with the pods of a Job as they were just read, in place of those of the watch."""
    assert job.uid is not None
    others = (pod for pod in observed.pods if (objects.controller(pod) or {}).get("uid") != job.uid)
    return replace(observed, pods=(*others, *pods), live_jobs=observed.live_jobs | {job.uid})


def _containers(pod: Body) -> list[Body]:
    return [each for each in pod_problems.container_statuses(pod) if each.get("name") == CONTAINER]


def _order(pod: Body) -> tuple[str, str]:
    return objects.created(pod), objects.name_of(pod)


def _newest_failed(pods: Iterable[Body]) -> Body | None:
    failed = [pod for pod in pods if objects.dig(pod, "status", "phase") == "Failed"]
    return max(failed, key=_order, default=None)


def is_suspended(job: Body) -> bool:
    """Return whether somebody, as a rule its queue, holds a Job back: it has no pods, and has not failed."""
    return objects.dig(job, "spec", "suspend") is True


def _waits_for(job: Body, observed: Observed) -> Explanation | None:
    if is_suspended(job):
        name = objects.name_of(job)
        return Explanation(
            Reason.JOB_SUSPENDED, f"Job {name} is suspended: its queue, or a person, lets it run later"
        )
    pods = pods_of(job, observed)
    alive = [pod for pod in pods if not objects.has_ended(pod)]
    if alive:
        return pod_problems.explain(alive, observed.events)
    created = objects.parse_time(objects.created(pods[-1])) if pods else None
    return explain_events(job, observed.events, created.timestamp() if created else 0.0)


def _succeeded(job: Body, observed: Observed, recipe_hash: str) -> Progress:
    text = result_of(job, observed)
    if text is None:
        return Progress(Phase.RESULT_LOST) if _is_live(job, observed) else _UNSEEN
    try:
        artifact = from_result(text, recipe_hash, store_in(objects.dig(job, "spec", "template")))
    except ValueError as error:
        return Progress(Phase.FAILED, why=Explanation(Reason.JOB_FAILED, str(error)))
    return Progress(Phase.SUCCEEDED, artifact=artifact)


def _failed(job: Body, observed: Observed) -> Progress:
    condition = objects.condition(job, "Failed") or {}
    if condition.get("reason") == "DeadlineExceeded":
        limit = objects.number(job, "spec", "activeDeadlineSeconds")
        text = f"the Job took longer than job.activeDeadlineSeconds ({limit})"
        return Progress(Phase.FAILED, why=Explanation(Reason.DEADLINE_EXCEEDED, text))
    failed = _newest_failed(pods_of(job, observed))
    why = pod_problems.explain_pod(failed) if failed else None
    if failed is None or why is None:
        if not _is_live(job, observed):
            return _UNSEEN
        text = str(condition.get("message") or condition.get("reason") or "the Job failed")
        return Progress(Phase.FAILED, why=Explanation(Reason.JOB_FAILED, text))
    return Progress(Phase.FAILED, why=why, heals=_heals(failed))


def _is_live(job: Body, observed: Observed) -> bool:
    """Return whether what the pods of a Job say is all there is to know.

    The watches of Jobs and pods are not ordered, and one may be far behind: the pod that explains a finished
    Job may show after the Job.
    """
    return objects.uid_of(job) in observed.live_jobs
