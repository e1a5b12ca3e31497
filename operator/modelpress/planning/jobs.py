"""What a compression Job came to."""

from enum import Enum
from typing import NamedTuple

from modelpress.api import contract, names
from modelpress.api.conditions import Reason
from modelpress.planning import objects, reasons
from modelpress.planning.artifact import Artifact, Store, from_result
from modelpress.planning.note import Note, note
from modelpress.planning.render.pod import recipe_label
from modelpress.planning.types import Body, Observed

# The watches of Jobs and pods are not ordered: the pod that explains a finished Job may show after the Job.
SETTLING_SECONDS = 10.0


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
    why: Note | None = None  # where it failed, or what an active one waits for


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


def finished_at(job: Body) -> str | None:
    """Return when a Job ended."""
    for kind in ("Complete", "Failed"):
        ended = objects.condition(job, kind)
        if ended and ended.get("status") == "True":
            return str(ended.get("lastTransitionTime") or "") or None
    return None


def pods_of(job: Body, observed: Observed) -> tuple[Body, ...]:
    """Return a Job's pods, oldest first."""
    uid = objects.uid_of(job)
    pods = [pod for pod in observed.pods if (objects.controller(pod) or {}).get("uid") == uid]
    return tuple(
        sorted(
            pods,
            key=lambda pod: (str(objects.dig(pod, "metadata", "creationTimestamp")), objects.name_of(pod)),
        )
    )


def is_suspended(job: Body) -> bool:
    """Return whether somebody, as a rule its queue, holds a Job back: it has no pods, and has not failed."""
    return objects.dig(job, "spec", "suspend") is True


def _waits_for(job: Body, observed: Observed) -> Note | None:
    if is_suspended(job):
        name = objects.name_of(job)
        return note(
            Reason.JOB_SUSPENDED, f"Job {name} is suspended: its queue, or a person, lets it run later"
        )
    alive = [pod for pod in pods_of(job, observed) if not _ended(pod)]
    if alive:
        return reasons.explain(alive, observed.events)
    return reasons.refused_job_pods(job, observed.events) or _last_failure(job, observed)


def _succeeded(job: Body, observed: Observed, recipe_hash: str) -> Progress:
    pods = pods_of(job, observed)
    for pod in pods:
        for status in reasons.container_statuses(pod):
            ended = objects.dig(status, "state", "terminated")
            if ended is None or ended.get("exitCode") != 0:
                continue
            try:
                artifact = from_result(str(ended.get("message") or ""), recipe_hash, _store_of(job))
            except ValueError as error:
                return Progress(Phase.FAILED, why=note(Reason.JOB_FAILED, str(error)))
            return Progress(Phase.SUCCEEDED, artifact=artifact)
    if _is_settling(job, observed):
        return Progress(Phase.ACTIVE)
    return Progress(Phase.RESULT_LOST)


def _failed(job: Body, observed: Observed) -> Progress:
    ended = objects.condition(job, "Failed") or {}
    if ended.get("reason") == "DeadlineExceeded":
        limit = objects.number(job, "spec", "activeDeadlineSeconds")
        text = f"the Job took longer than job.activeDeadlineSeconds ({limit})"
        return Progress(Phase.FAILED, why=note(Reason.DEADLINE_EXCEEDED, text))
    why = _last_failure(job, observed)
    if why is None and _is_settling(job, observed):
        return Progress(Phase.ACTIVE)
    text = str(ended.get("message") or ended.get("reason") or "the Job failed")
    return Progress(Phase.FAILED, why=why or note(Reason.JOB_FAILED, text))


def _last_failure(job: Body, observed: Observed) -> Note | None:
    ended = [pod for pod in pods_of(job, observed) if objects.dig(pod, "status", "phase") == "Failed"]
    return reasons.explain_pod(ended[-1]) if ended else None


def _ended(pod: Body) -> bool:
    return objects.dig(pod, "status", "phase") in ("Succeeded", "Failed")


def _is_settling(job: Body, observed: Observed) -> bool:
    return objects.age(finished_at(job), observed.now) < SETTLING_SECONDS


def _store_of(job: Body) -> Store:
    """Return where a Job put its artifact, as its own environment says."""
    spec = objects.dig(job, "spec", "template", "spec")
    variables = {
        entry.get("name"): entry.get("value")
        for container in objects.items(spec, "containers")
        for entry in objects.items(container, "env")
    }
    secrets = {
        volume.get("name"): objects.dig(volume, "secret", "secretName")
        for volume in objects.items(spec, "volumes")
    }
    return Store(
        str(variables.get(contract.STORE) or "").replace("$$", "$"),
        secrets.get(f"secret-{contract.STORAGE_SECRET}"),
    )
