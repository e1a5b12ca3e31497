"""How a program in a container reports why it cannot go on: JobFailure JSON in the termination message.

Standard library and api only: workers use it too.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.contract import TERMINATION_MESSAGE, TERMINATION_MESSAGE_LIMIT, JobFailure
from modelpress.api.errors import ModelPressError, UsageError

_log = logging.getLogger(__name__)


def run_reporting(program: Callable[[], None]) -> int:
    """Run `program` and return the container's exit code; a failure is logged and reported.

    An error that is not one of modelpress.api.errors is ours: its traceback goes to the log, and the report
    says only its type.
    """
    try:
        program()
    except ModelPressError as error:
        _log.error("%s: %s", error.reason, error.message)
        report(JobFailure(reason=error.reason, message=_line(error.message)))
        return error.exit_code
    except Exception as error:
        _log.exception("unexpected error")
        report(
            JobFailure(reason=Reason.POD_CRASHED, message=f"unexpected {type(error).__name__}; see the log")
        )
        return ModelPressError.exit_code
    return 0


def report(failure: JobFailure) -> None:
    """Write a failure to the file that MODELPRESS_TERMINATION_MESSAGE names, if it names one."""
    path = os.environ.get(TERMINATION_MESSAGE)
    if not path:
        return
    text = failure.model_dump_json(by_alias=True)
    if len(text.encode()) > TERMINATION_MESSAGE_LIMIT:  # escapes and letters of several bytes
        text = failure.model_copy(update={"message": failure.message[:600]}).model_dump_json(by_alias=True)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        _log.warning("%s: the failure cannot be reported: %s", path, error.strerror)


def required(name: str) -> str:
    """Return an environment variable. Raises UsageError where it is unset."""
    value = os.environ.get(name)
    if not value:
        raise UsageError(Reason.INVALID_SPEC, f"the environment variable {name} is not set")
    return value


def _line(message: str) -> str:
    return " ".join(message.split())[:3000]
