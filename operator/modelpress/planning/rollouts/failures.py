"""The memory of failures: what `status.failed` keeps, what it blocks, and when it is forgotten.

A failed Job or gate is remembered for its recipe, a failed rollout for its revision only, and so is a
revision that the API server refuses. What is remembered is not tried again until it or the annotation
modelpress.dev/retry changes. docs/architecture.md draws this. A revision that failed is noted on its
ControllerRevision, too, so that each is known while it is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.status import Failure, RevisionReference
from modelpress.planning.artifacts.attempts import HEALING
from modelpress.planning.explanation import Explanation
from modelpress.planning.rollouts.revisions import Revision
from modelpress.planning.types import Mark
from modelpress.planning.view import View


def of_recipe(view: View, why: Explanation) -> Failure:
    """Return what to remember of a Job or gate that failed."""
    by_gate = why.reason is Reason.EVALUATION_FAILED  # which other settings of the Job do not change
    return Failure(
        recipe_hash=view.recipe_hash,
        retry=view.retry,
        job_settings=None if by_gate else view.job_settings_hash,
        reason=why.reason.value,
        message=why.message,
    )


def of_revision(view: View, revision: Revision, why: Explanation) -> Failure:
    """Return what to remember of a rollout that failed."""
    return Failure(
        recipe_hash=revision.artifact.recipe_hash,
        revision_hash=revision.revision_hash,
        retry=view.retry,
        reason=why.reason.value,
        message=why.message,
    )


def explain(failure: Failure) -> Explanation:
    """Return a remembered failure for the conditions."""
    reason = Reason.of(failure.reason or "")
    return Explanation(reason, failure.message or reason.meaning)


def blocking_recipe(view: View) -> Failure | None:
    """Return the failure that forbids a new Job of the desired recipe.

    The gate forbids none: it judges scores, without which the Job runs again. Nor does what may heal.
    """
    failure = _of_desired_recipe(view)
    if failure is None or _is_lifted(view, failure):
        return None
    return None if failure.reason in (Reason.EVALUATION_FAILED, *HEALING) else failure


def blocking_revision(view: View, revision: Revision) -> Failure | None:
    """Return the failure that forbids another rollout of a revision."""
    known = (view.status.failed, revision.failed)
    mine = (each for each in known if each and each.revision_hash == revision.revision_hash)
    return next((each for each in mine if each.retry == view.retry), None)


def refusal(view: View, revision: Revision) -> Explanation | None:
    """Return why the API server does not take a revision, as it just said."""
    found = view.observed.refusal
    if found is None or found.revision != revision.name:
        return None
    return Explanation(found.reason, found.message)


def is_final(reason: Reason) -> bool:
    """Return whether a refusal is about the revision itself: no quota, policy or name that may change."""
    return reason is Reason.INVALID_POD_SETTINGS


def marks(failure: Failure | None, revision: Revision | None) -> tuple[Mark, ...]:
    """Return what to note on a stored revision: its failure, or (None) that it has none."""
    if revision is None or revision.stored is None or failure == revision.failed:
        return ()
    text = failure.model_dump_json(by_alias=True, exclude_none=True) if failure else ""
    return (Mark(revision.stored, {names.FAILED_ANNOTATION: text}),)


def recipe_is_retried(view: View) -> bool:
    """Return whether people lifted the block that a failed Job or gate put on the recipe."""
    failure = _of_desired_recipe(view)
    return failure is not None and _is_lifted(view, failure)


def _is_lifted(view: View, failure: Failure) -> bool:
    """Return whether the retry annotation or the settings of the Job have changed since."""
    return failure.retry != view.retry or failure.job_settings not in (None, view.job_settings_hash)


@dataclass(frozen=True)
class Findings:
    """What one step of the control loop found out, as far as the memory is concerned."""

    view: View  # with what is remembered so far
    failure: Failure | None  # what a Job, the gate or a rollout failed with in this step
    blocked: bool  # nothing new may be made
    job: bool  # a Job of the desired recipe is alive or about to be
    desired: Revision | None  # its artifact has passed the gate
    current: RevisionReference | None


def remembered(found: Findings) -> Failure | None:
    """Return what `status.failed` is after a step."""
    then = next((then for happens, then in _TRANSITIONS if happens(found)), _Memory.KEPT)
    return {_Memory.NEW: found.failure, _Memory.KEPT: found.view.status.failed, _Memory.EMPTY: None}[then]


class _Memory(Enum):
    NEW = "the failure of this step"
    KEPT = "what it was"
    EMPTY = "nothing"


def _of_desired_recipe(view: View) -> Failure | None:
    failure = view.status.failed
    mine = failure and failure.recipe_hash == view.recipe_hash and failure.revision_hash is None
    return failure if mine else None


def _current_moved(found: Findings) -> bool:
    return found.current is not None and found.current.name != found.view.current_name


def _recipe_runs_again(found: Findings) -> bool:
    return found.job and recipe_is_retried(found.view)


def _recipe_passed(found: Findings) -> bool:
    return found.desired is not None and _of_desired_recipe(found.view) is not None


def _revision_is_retried(found: Findings) -> bool:
    failure, desired = found.view.status.failed, found.desired
    same = failure and desired and failure.revision_hash == desired.revision_hash
    return bool(same and failure and failure.retry != found.view.retry)


# The first row that holds decides; where none does, the memory stays.
_TRANSITIONS: tuple[tuple[Callable[[Findings], bool], _Memory], ...] = (
    (lambda found: found.failure is not None, _Memory.NEW),  # the newest failure is the one to mend
    (lambda found: found.blocked, _Memory.KEPT),  # nothing is tried, so nothing can have passed
    (_current_moved, _Memory.EMPTY),  # another revision serves: what failed before it is history
    (_recipe_runs_again, _Memory.EMPTY),  # a new value of the retry annotation, or a repair, has made its Job
    (_recipe_passed, _Memory.EMPTY),  # its artifact is there and meets the limits, as after an edit of them
    (_revision_is_retried, _Memory.EMPTY),  # a new value of the retry annotation lets it roll out again
)
