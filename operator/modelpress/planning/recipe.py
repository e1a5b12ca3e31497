"""Which artifact the spec asks for: one that is known already, or what a Job makes.

What is known comes from a finished Job, a ControllerRevision or the status, in this order. A failed recipe is
not tried again until it or the retry annotation changes.
"""

from dataclasses import dataclass, replace

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.status import Failure
from modelpress.planning import jobs, objects, reasons
from modelpress.planning.artifact import Artifact, from_status
from modelpress.planning.jobs import Phase
from modelpress.planning.note import Note, note
from modelpress.planning.ownership import WAIT_SECONDS, Claim, obstacle
from modelpress.planning.render import job as render_job
from modelpress.planning.revisions import HISTORY, Revision, find
from modelpress.planning.types import Body, Ref
from modelpress.planning.view import View

SLOT_SECONDS = 5.0  # a slot becomes free by another resource's Job


@dataclass(frozen=True)
class Making:
    """What is known and done about the wanted artifact."""

    artifact: Artifact | None = None
    working: Note | None = None  # a Job runs or is due
    stalled: Note | None = None
    failed: Failure | None = None  # what to remember as failed
    create: Body | None = None
    delete: tuple[Ref, ...] = ()
    job: bool = False  # a Job of this recipe is alive or about to be
    requeue: float | None = None


def decide_artifact(view: View, known: tuple[Revision, ...], *, frozen: bool) -> Making:
    """Return the wanted artifact, or what is to be done to get it. Running Jobs that nobody wants go away.

    `frozen` allows no new Job.
    """
    ours = [job for job in view.observed.jobs if view.claim(job) in (Claim.OURS, Claim.ADOPT)]
    job = _job_of_recipe(view, ours)
    remembered = _remembered(view, known)
    if job is None:
        making = _without_job(view, remembered, _lost_at(view, known, remembered), frozen=frozen)
    else:
        making = _with_job(view, known, job, remembered)
    if frozen and making.delete:
        making = Making(making.artifact)
    return replace(making, delete=(*making.delete, *_unwanted(view, ours, job)))


def is_retried(view: View) -> bool:
    """Return whether the retry annotation lifts the block that a failed Job or gate put on the recipe."""
    failed = view.failed
    return (
        failed is not None
        and failed.recipe_hash == view.recipe_hash
        and failed.revision_hash is None
        and failed.retry != view.retry
    )


def _job_of_recipe(view: View, ours: list[Body]) -> Body | None:
    """Return the Job to look at: the one of this recipe and retry, else one that still is or was of use.

    A Job that lost its owner is made anew: Jobs are never changed.
    """
    candidates = [job for job in ours if view.claim(job) is Claim.OURS and jobs.is_of(job, view.recipe_hash)]
    exact = objects.named(candidates, view.job_name)
    if exact is not None or is_retried(view):
        return exact
    useful = [job for job in candidates if not objects.is_true(job, "Failed")]
    return max(useful, key=lambda job: str(objects.dig(job, "metadata", "creationTimestamp")), default=None)


def _unwanted(view: View, ours: list[Body], wanted: Body | None) -> list[Ref]:
    """Return the Jobs to delete: running ones of another recipe or retry, and all but the newest finished.

    A finished Job keeps its logs and its result, for when an edit is taken back.
    """
    others = [job for job in ours if job is not wanted]
    finished = [job for job in others if _is_kept(view, job)]
    newest = sorted(finished, key=lambda job: jobs.finished_at(job) or "", reverse=True)[:HISTORY]
    return [objects.ref_to(job, "Job") for job in others if job not in newest]


def _is_kept(view: View, job: Body) -> bool:
    return jobs.finished_at(job) is not None and view.claim(job) is Claim.OURS


def _with_job(view: View, known: tuple[Revision, ...], job: Body, remembered: Artifact | None) -> Making:
    progress = jobs.progress(job, view.observed, view.recipe_hash)
    lost_at = _lost_at(view, known, progress.artifact or remembered)
    match progress.phase:
        case Phase.ACTIVE:
            # while a lost artifact is made again, the pods that have it go on
            usable = remembered if lost_at else None
            due = _lost_note(usable) if usable else _compressing(objects.name_of(job))
            return Making(usable, working=progress.why or due, job=True, requeue=_requeue(view, job))
        case Phase.FAILED:
            why = progress.why or note(Reason.JOB_FAILED, "the Job failed")
            return Making(remembered, stalled=why, failed=failure(view, why))
        case Phase.SUCCEEDED:
            if _is_older(job, lost_at):
                return _again(job, progress.artifact, _lost_note(progress.artifact))
            return Making(progress.artifact)
        case Phase.RESULT_LOST:
            if remembered and not lost_at:
                return Making(remembered)
            why = note(Reason.COMPRESSING, "the Job's result was lost with its pod: it runs again")
            return _again(job, remembered, why)


def _without_job(view: View, remembered: Artifact | None, lost_at: str | None, *, frozen: bool) -> Making:
    if remembered and not lost_at:
        return Making(remembered)
    failed = view.failed
    blocked = (
        failed is not None
        and failed.recipe_hash == view.recipe_hash
        and failed.revision_hash is None
        and failed.retry == view.retry
        and failed.reason != Reason.EVALUATION_FAILED  # judged by scores; without them the Job runs again
    )
    if failed is not None and blocked:
        return Making(remembered, stalled=remembered_note(failed))
    if frozen:
        return Making(remembered)
    in_the_way = _in_the_way(view)
    if in_the_way is not None:
        waits = in_the_way.reason is Reason.WAITING_FOR_DELETION
        return (
            Making(remembered, working=in_the_way, requeue=WAIT_SECONDS)
            if waits
            else Making(remembered, stalled=in_the_way)
        )
    if view.observed.free_job_slots < 1:
        waiting = note(Reason.WAITING_FOR_JOB_SLOT, "as many compression Jobs run as the operator allows")
        return Making(remembered, working=waiting, requeue=SLOT_SECONDS)
    working = _lost_note(remembered) if remembered else _compressing(view.job_name)
    return Making(remembered, working=working, create=render_job.render(view), job=True)


def _in_the_way(view: View) -> Note | None:
    """Return why a Job of the wanted name cannot be made."""
    body = objects.named(view.observed.jobs, view.job_name)
    return obstacle(body, view.resource, "Job") if body else None


def _again(job: Body, usable: Artifact | None, why: Note) -> Making:
    """Remove a finished Job: the next step makes it again."""
    return Making(usable, working=why, delete=(objects.ref_to(job, "Job"),), job=True)


def failure(view: View, why: Note) -> Failure:
    """Return the memory of a recipe that failed."""
    return Failure(
        recipe_hash=view.recipe_hash, retry=view.retry, reason=why.reason.value, message=why.message
    )


def remembered_note(failed: Failure) -> Note:
    """Return a remembered failure for the conditions."""
    known = {reason.value: reason for reason in Reason}
    reason = known.get(failed.reason or "", Reason.JOB_FAILED)  # another release may have other words
    return note(reason, failed.message or reason.meaning)


def _remembered(view: View, known: tuple[Revision, ...]) -> Artifact | None:
    """Return the recipe's artifact as the ControllerRevisions and the status know it."""
    if is_retried(view):
        return None
    candidate, current = view.status.candidate, view.status.current
    stored = [revision.artifact for revision in known if revision.artifact.recipe_hash == view.recipe_hash]
    for reference in (candidate, current):
        if reference and reference.recipe_hash == view.recipe_hash and reference.artifact_digest:
            for artifact in stored:
                if artifact.artifact_digest == reference.artifact_digest:
                    return artifact
            return from_status(reference, view.status, view.store)
    return stored[0] if stored else None


def _lost_at(view: View, known: tuple[Revision, ...], artifact: Artifact | None) -> str | None:
    """Return when a pod last said that the store no longer has the artifact."""
    if artifact is None:
        return None
    times = []
    for pod in view.entry_pods:
        revision = find(known, objects.label(pod, names.REVISION_LABEL))
        if revision is None or revision.artifact.artifact_digest != artifact.artifact_digest:
            continue
        times += _lost_times(pod)
    return max(times, default=None)


def _lost_times(pod: Body) -> list[str]:
    ends = [reasons.terminated(status) for status in reasons.container_statuses(pod)]
    said = [(end, reasons.failure(end)) for end in ends if end]
    return [str(end.get("finishedAt")) for end, why in said if why and why.reason is Reason.ARTIFACT_LOST]


def _is_older(job: Body, lost_at: str | None) -> bool:
    """Return whether the artifact was missed after the Job had put it into the store."""
    lost, finished = objects.parse_time(lost_at), objects.parse_time(jobs.finished_at(job))
    return lost is not None and finished is not None and lost > finished


def _compressing(job: str) -> Note:
    return note(Reason.COMPRESSING, f"Job {job} makes the artifact")


def _lost_note(artifact: Artifact | None) -> Note:
    digest = artifact.artifact_digest if artifact else "the artifact"
    return note(Reason.ARTIFACT_LOST, f"the store no longer has {digest}: it is made again")


def _requeue(view: View, job: Body) -> float | None:
    if jobs.finished_at(job) is not None:
        return jobs.SETTLING_SECONDS
    if jobs.is_suspended(job):
        return None  # its end is a change of the Job
    pods = jobs.pods_of(job, view.observed)
    if not pods:
        return reasons.LOOK_AGAIN_SECONDS  # what forbids its pods shows in events only
    return reasons.look_again(pods, view.observed.now)
