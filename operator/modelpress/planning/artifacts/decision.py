"""Which artifact the spec asks for: one that is known already, or what a Job makes.

What is known comes from a finished Job, a ControllerRevision or the status, in this order. What a failed Job
forbids is in `failures`; one that failed of what may heal by itself is tried again, with growing waits.
"""

from dataclasses import dataclass, replace

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.status import Failure
from modelpress.planning.artifacts import attempts, jobs, repairs
from modelpress.planning.artifacts.artifact import Artifact, from_status
from modelpress.planning.artifacts.jobs import Phase, Progress
from modelpress.planning.artifacts.repairs import Verdict
from modelpress.planning.children import objects
from modelpress.planning.children.ownership import DELETION_WAIT_SECONDS, Claim
from modelpress.planning.explanation import Explanation, final
from modelpress.planning.problems import pod_problems, waiting
from modelpress.planning.rollouts import failures
from modelpress.planning.rollouts.revisions import HISTORY, Revision, find
from modelpress.planning.types import Body, Mark, Ref
from modelpress.planning.view import View


@dataclass(frozen=True)
class ArtifactDecision:
    """What is known and done about the desired artifact."""

    artifact: Artifact | None = None
    working: Explanation | None = None  # a Job runs or is due
    stalled: Explanation | None = None
    failed: Failure | None = None  # what to remember as failed
    create: Body | None = None
    delete: tuple[Ref, ...] = ()
    marks: tuple[Mark, ...] = ()
    unseen: tuple[Ref, ...] = ()  # Jobs whose pods are to be read live before any of this is done
    waits_for_slot: bool = False
    job: bool = False  # a Job of this recipe is alive or about to be
    requeue: float | None = None


def decide_artifact(view: View, known: tuple[Revision, ...], *, frozen: bool) -> ArtifactDecision:
    """Return the desired artifact, or what is to be done to get it. Running Jobs of no use go away.

    `frozen` allows no new Job.
    """
    ours = [job for job in view.observed.jobs if view.claim(job) in (Claim.OURS, Claim.ADOPT)]
    of_recipe = [job for job in ours if view.claim(job) is Claim.OURS and jobs.is_of(job, view.recipe_hash)]
    job = _job_of_recipe(view, of_recipe)
    progress = attempts.progress(view, job, of_recipe) if job else None
    remembered = _remembered(view, known)
    lost_at = _lost_at(view, known, (progress.artifact if progress else None) or remembered)
    is_known = remembered is not None and not lost_at
    matters = progress is not None and not (is_known and progress.phase is Phase.RESULT_LOST)
    if job and progress and matters and not progress.heals:
        decision = _with_job(view, job, progress, remembered, lost_at)
    elif is_known:
        decision = ArtifactDecision(remembered)
    elif job and progress and progress.why:
        decision = _try_again(view, job, remembered, progress.why, frozen=frozen)
    else:
        decision = _without_job(view, remembered, frozen=frozen)
    if frozen and decision.delete:
        decision = ArtifactDecision(decision.artifact)
    if job:
        decision = _repaired(view, job, decision, frozen=frozen)
    return replace(decision, delete=(*decision.delete, *_obsolete(view, ours, job)))


def _repaired(view: View, job: Body, decision: ArtifactDecision, *, frozen: bool) -> ArtifactDecision:
    """Return a decision with what people's changes beside the recipe mean for its Job."""
    ref, found = objects.ref_to(job, "Job"), repairs.verdict(view, job)
    if found is Verdict.LOOK:
        return replace(decision, unseen=(ref,))
    if found is Verdict.REMOVE:
        return ArtifactDecision(decision.artifact, delete=(ref,))
    if found is Verdict.REPLACE and not frozen:
        return _again(job, decision.artifact, _compressing(view.job_name()))
    return decision


def _job_of_recipe(view: View, of_recipe: list[Body]) -> Body | None:
    """Return the Job to look at: the last of this recipe and retry, else one that still is or was of use.

    A Job that lost its owner is made anew: Jobs are never changed.
    """
    exact = attempts.newest(view, of_recipe)
    if exact is not None or failures.recipe_is_retried(view):
        return exact
    useful = [job for job in of_recipe if not objects.is_true(job, "Failed")]
    return max(useful, key=objects.created, default=None)


def _obsolete(view: View, ours: list[Body], desired: Body | None) -> list[Ref]:
    """Return the Jobs to delete: running ones of another recipe or retry, and all but the newest finished.

    A finished Job keeps its logs and its result, for when an edit is taken back. Of the failed ones only the
    newest is kept, and none that an attempt after it has followed to its end.
    """
    others = [job for job in ours if job is not desired]
    finished = [job for job in others if _is_kept(view, job) and not _is_followed(view, job, desired)]
    finished.sort(key=lambda job: jobs.finished_at(job) or "", reverse=True)
    failed = [job for job in finished if objects.is_true(job, "Failed")]
    kept = failed[:1] + [job for job in finished if job not in failed][:HISTORY]
    return [objects.ref_to(job, "Job") for job in others if job not in kept]


def _is_kept(view: View, job: Body) -> bool:
    return jobs.is_finished(job) and view.claim(job) is Claim.OURS


def _is_followed(view: View, job: Body, desired: Body | None) -> bool:
    if desired is None or not jobs.is_finished(desired) or not jobs.is_of(job, view.recipe_hash):
        return False
    return objects.is_true(job, "Failed") or attempts.number(job) < attempts.number(desired)


def _with_job(
    view: View, job: Body, progress: Progress, remembered: Artifact | None, lost_at: str | None
) -> ArtifactDecision:
    match progress.phase:
        case Phase.ACTIVE:
            # while a lost artifact is made again, the pods that have it go on
            usable = remembered if lost_at else None
            due = _lost(usable) if usable else _compressing(objects.name_of(job))
            return ArtifactDecision(
                usable,
                working=progress.why or due,
                unseen=(objects.ref_to(job, "Job"),) if progress.unseen else (),
                job=True,
                requeue=_requeue(view, job, progress.why),
            )
        case Phase.FAILED | Phase.RESULT_LOST:
            why = progress.why or Explanation(Reason.JOB_FAILED, "the Job failed")
            return ArtifactDecision(remembered, stalled=final(why), failed=failures.of_recipe(view, why))
        case Phase.SUCCEEDED:
            if _is_older(job, lost_at):
                return _again(job, progress.artifact, _lost(progress.artifact))
            return ArtifactDecision(progress.artifact, marks=_kept_result(view, job))


def _kept_result(view: View, job: Body) -> tuple[Mark, ...]:
    """Return the mark that keeps a Job's result when its pod is gone."""
    text = jobs.result_of(job, view.observed)
    if text is None or text == objects.annotation(job, names.RESULT_ANNOTATION):
        return ()
    return (Mark(objects.ref_to(job, "Job"), {names.RESULT_ANNOTATION: text}),)


def _try_again(
    view: View, job: Body, remembered: Artifact | None, why: Explanation, *, frozen: bool
) -> ArtifactDecision:
    """Return what follows a Job that failed of what may heal by itself."""
    if frozen:
        return ArtifactDecision(remembered)
    left = attempts.wait(job, view.observed.now)
    if left > 0:
        return ArtifactDecision(remembered, working=why, job=True, requeue=left)
    return _start(view, remembered, why, job)


def _without_job(view: View, remembered: Artifact | None, *, frozen: bool) -> ArtifactDecision:
    failure = failures.blocking_recipe(view)
    if failure is not None:
        return ArtifactDecision(remembered, stalled=final(failures.explain(failure)))
    if frozen:
        return ArtifactDecision(remembered)
    working = _lost(remembered) if remembered else _compressing(view.job_name())
    return _start(view, remembered, working, None)


def _start(
    view: View, remembered: Artifact | None, working: Explanation, before: Body | None
) -> ArtifactDecision:
    """Return the creation of the first Job, or of the one that follows another."""
    job = attempts.render(view, before)
    conflict = view.name_conflict("Job", objects.name_of(job))
    if conflict and conflict.reason is Reason.WAITING_FOR_DELETION:
        return ArtifactDecision(remembered, working=conflict, requeue=DELETION_WAIT_SECONDS)
    if conflict:
        return ArtifactDecision(remembered, stalled=conflict)
    if view.observed.free_job_slots < 1:
        slot = Explanation(
            Reason.WAITING_FOR_JOB_SLOT,
            "as many compression Jobs run as the operator allows, or this namespace has its share of them",
        )
        known = before is not None  # what it waits for at first
        return ArtifactDecision(
            remembered,
            working=working if known else slot,
            waits_for_slot=True,
            job=known,
            requeue=view.observed.slot_seconds,
        )
    return ArtifactDecision(remembered, working=working, create=job, job=True)


def _again(job: Body, usable: Artifact | None, why: Explanation) -> ArtifactDecision:
    """Remove a finished Job: the next step makes it again."""
    return ArtifactDecision(usable, working=why, delete=(objects.ref_to(job, "Job"),), job=True)


def _remembered(view: View, known: tuple[Revision, ...]) -> Artifact | None:
    """Return the recipe's artifact as the ControllerRevisions and the status know it."""
    if failures.recipe_is_retried(view):
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
    for pod in view.worker_pods:
        revision = find(known, objects.label(pod, names.REVISION_LABEL))
        if revision is None or revision.artifact.artifact_digest != artifact.artifact_digest:
            continue
        times += _lost_times(pod)
    return max(times, default=None)


def _lost_times(pod: Body) -> list[str]:
    ends = [(end, pod_problems.reported_failure(end)) for end in pod_problems.failed_ends(pod)]
    return [str(end.get("finishedAt")) for end, why in ends if why and why.reason is Reason.ARTIFACT_LOST]


def _is_older(job: Body, lost_at: str | None) -> bool:
    """Return whether the artifact was missed after the Job had put it into the store."""
    lost, finished = objects.parse_time(lost_at), objects.parse_time(jobs.finished_at(job))
    return lost is not None and finished is not None and lost > finished


def _compressing(job: str) -> Explanation:
    return Explanation(Reason.COMPRESSING, f"Job {job} makes the artifact")


def _lost(artifact: Artifact | None) -> Explanation:
    digest = artifact.artifact_digest if artifact else "the artifact"
    return Explanation(Reason.ARTIFACT_LOST, f"the store no longer has {digest}: it is made again")


def _requeue(view: View, job: Body, why: Explanation | None) -> float | None:
    if jobs.is_finished(job):
        return waiting.LOOK_AGAIN_SECONDS  # were its pods not read live in this step
    if jobs.is_suspended(job):
        return None  # its end is a change of the Job
    alive = [pod for pod in jobs.pods_of(job, view.observed) if not objects.has_ended(pod)]
    if not alive:
        return waiting.LOOK_AGAIN_SECONDS  # what forbids its pods shows in events only
    if any(objects.dig(pod, "status", "phase") == "Running" for pod in alive):
        if why is None:
            return None
        left = attempts.passes_in(view, job)  # 0 or less: what it says now has another cause
        return left if left > 0 else waiting.look_again(alive, view.observed.now)
    return waiting.look_again(alive, view.observed.now)
