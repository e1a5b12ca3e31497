"""When a Job goes for what people changed beside the recipe: its settings, the retry annotation, suspend.

A Job is never changed, and one that runs is never disturbed: only one that failed, or whose container has
never been started, is made again. That it has not is never believed of a watch alone.
"""

from enum import Enum

from modelpress.api import names
from modelpress.planning.artifacts import attempts, jobs
from modelpress.planning.children import objects
from modelpress.planning.types import Body
from modelpress.planning.view import View


class Verdict(Enum):
    """What becomes of a Job of the desired recipe."""

    KEEP = "it stays"
    LOOK = "its pods are to be read live first"
    REPLACE = "it is made again"
    REMOVE = "it goes, and none takes its place yet"


def verdict(view: View, job: Body) -> Verdict:
    """Return what becomes of a Job."""
    if objects.is_true(job, "Complete"):
        return Verdict.KEEP
    if objects.is_true(job, "Failed"):
        return Verdict.REPLACE if _settings_differ(view, job) else Verdict.KEEP
    if not _is_unwanted(view, job) or jobs.has_run(job, view.observed):
        return Verdict.KEEP
    if objects.uid_of(job) not in view.observed.live_jobs:
        return Verdict.LOOK
    return Verdict.REMOVE if view.spec.suspend else Verdict.REPLACE


def _is_unwanted(view: View, job: Body) -> bool:
    """Return whether another Job, or none, is wanted instead of one that has not run yet."""
    if view.spec.suspend and not jobs.is_suspended(job):
        return True  # it holds a slot
    return _settings_differ(view, job) or not attempts.is_attempt(view, job)


def _settings_differ(view: View, job: Body) -> bool:
    """Return whether spec.job or spec.storage has changed; an earlier release did not note them."""
    return objects.annotation(job, names.SETTINGS_ANNOTATION) not in (None, view.job_settings_hash)
