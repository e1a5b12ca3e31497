"""How a model's way ends on this machine: the Job's result, and errors with the exit code of their reason."""

from pydantic import ValidationError

from modelpress.api import errors, names
from modelpress.api.conditions import Reason
from modelpress.api.contract import JobFailure, JobResult
from modelpress.api.errors import ModelPressError
from modelpress.planning.children import objects
from modelpress.planning.types import Body


def error_of(reason: str, message: str) -> ModelPressError:
    """Return the error to raise for a reason; its line starts with the reason."""
    return errors.error_of(Reason.of(reason), f"{reason}: {message}")


def job_result(pod: Body) -> JobResult | None:
    """Return what a Job's pod that succeeded reports; None for any other pod."""
    if objects.label(pod, names.ROLE_LABEL) != names.JOB:
        return None
    ended = _ended(pod)
    if ended is None or ended["exitCode"] != 0:
        return None
    try:
        return JobResult.model_validate_json(ended.get("message", ""))
    except ValidationError:
        return None


def job_error(pod: Body) -> ModelPressError:
    """Return why a Job's pod failed."""
    ended = _ended(pod) or {}
    try:
        failure = JobFailure.model_validate_json(ended.get("message", ""))
    except ValidationError:
        reason = Reason.OUT_OF_MEMORY if ended.get("reason") == "OOMKilled" else Reason.JOB_FAILED
        return error_of(reason, f"the Job ended with exit code {ended.get('exitCode')}")
    return error_of(failure.reason, failure.message)


def _ended(pod: Body) -> Body | None:
    for entry in objects.items(pod, "status", "containerStatuses"):
        found: Body | None = objects.dig(entry, "state", "terminated")
        if found:
            return found
    return None
