"""Jobs that are made again after what may heal by itself: a source or a store that is away, or that refuses a
credential.

Each attempt is a Job of its own, whose annotation counts those before it. So the waits can be told from the
cluster alone, and begin anew once a Job succeeded: then the failed ones are removed.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.errors import HEALING_EXIT_CODES
from modelpress.planning.artifacts import jobs
from modelpress.planning.artifacts.jobs import Phase, Progress
from modelpress.planning.backoff import pause
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation, tried_again
from modelpress.planning.render import job as render_job
from modelpress.planning.types import Body
from modelpress.planning.view import View

HEALING = tuple(reason for reason in Reason if reason.exit_code in HEALING_EXIT_CODES)
FIRST_SECONDS, LONGEST_SECONDS = 10.0, 600.0
# An attempt whose container has run for this long has passed what ended the last one, time limits included.
PASSED_SECONDS = 120.0
_MOST_LOST = 3  # Jobs in a row: whatever removes pods so soon does not stop by itself


def number(job: Body) -> int:
    """Return which attempt a Job is, from 0."""
    return objects.count(job, names.ATTEMPT_ANNOTATION)


def newest(view: View, recipe_jobs: Iterable[Body]) -> Body | None:
    """Return the last attempt of the desired recipe and retry."""
    return max((job for job in recipe_jobs if is_attempt(view, job)), key=number, default=None)


def wait(job: Body, now: datetime) -> float:
    """Return the seconds until a failed Job is made again; 0 or less: now."""
    seconds = pause(FIRST_SECONDS, LONGEST_SECONDS, number(job))
    return seconds - objects.age(jobs.finished_at(job), now)


def render(view: View, before: Body | None) -> Mapping[str, Any]:
    """Return the first Job, or the one that follows another."""
    body = render_job.render(view)
    if before is not None:
        attempt, lost = number(before) + 1, _lost_so_far(before)
        annotations = {**body["metadata"]["annotations"], names.ATTEMPT_ANNOTATION: str(attempt)}
        if lost:
            annotations[names.LOST_ANNOTATION] = str(lost)
        body["metadata"] |= {"name": view.job_name(attempt), "annotations": annotations}
    return body


def progress(view: View, job: Body, recipe_jobs: Iterable[Body]) -> Progress:
    """Return what a Job came to. An active one keeps the cause of the last failure until it is past it."""
    found = jobs.progress(job, view.observed, view.recipe_hash)
    if found.phase is Phase.RESULT_LOST:
        return _lost(view, job, found)
    if found.phase is Phase.ACTIVE and found.why is not None and found.why.reason in HEALING:
        return found._replace(why=tried_again(found.why)) if view.settings.tries_again else found
    if found.phase is Phase.ACTIVE and found.why is None and passes_in(view, job) > 0:
        # the pods that failed may show in a moment, or be gone
        unclear = number(job) > 0 or jobs.is_finished(job)
        return found._replace(why=_cause(view, job, recipe_jobs) or (_known_cause(view) if unclear else None))
    if found.phase is not Phase.FAILED or not view.settings.tries_again:
        return found._replace(heals=False)
    if found.heals and found.why:
        return found._replace(why=tried_again(found.why))
    lost = found.why is not None and found.why.reason is Reason.JOB_FAILED
    known = _known_cause(view) if lost and not jobs.pods_of(job, view.observed) else None
    return found._replace(why=known, heals=True) if known else found


def _lost(view: View, job: Body, found: Progress) -> Progress:
    """Return what follows a result that is lost: the Job runs again, but not for ever."""
    count = _lost_so_far(job)
    text = f"Job {objects.name_of(job)} ended well, but its pod was removed before its result could be read"
    if count >= _MOST_LOST or not view.settings.tries_again:
        more = f", {count} times in a row" if count > 1 else ""
        return found._replace(why=Explanation(Reason.RESULT_LOST, text + more))
    return found._replace(why=tried_again(Explanation(Reason.RESULT_LOST, text)), heals=True)


def _lost_so_far(job: Body) -> int:
    """Return how many Jobs in a row, this one included, ended well and lost their result."""
    return objects.count(job, names.LOST_ANNOTATION) + objects.is_true(job, "Complete")


def passes_in(view: View, job: Body) -> float:
    """Return the seconds until a running Job counts as past what ended the attempt before it."""
    return PASSED_SECONDS - jobs.running_seconds(job, view.observed)


def _cause(view: View, job: Body, recipe_jobs: Iterable[Body]) -> Explanation | None:
    """Return what the last attempt failed of, in this Job or in one before: the next may as well."""
    before = [each for each in recipe_jobs if is_attempt(view, each)]
    pods = [pod for each in (before if job in before else [job]) for pod in jobs.pods_of(each, view.observed)]
    why = jobs.last_failure(pods)
    return tried_again(why) if why else None


def is_attempt(view: View, job: Body) -> bool:
    """Return whether a Job is one of the desired recipe and retry, by its name."""
    return objects.name_of(job) == view.job_name(number(job))


def _known_cause(view: View) -> Explanation | None:
    """Return what the status says that a Job failed of, for one whose pods are gone."""
    condition = objects.condition(view.resource, "Reconciling") or {}
    healing = next((reason for reason in HEALING if reason == condition.get("reason")), None)
    if condition.get("status") != "True" or healing is None:
        return None
    return Explanation(healing, str(condition.get("message") or healing.meaning))
