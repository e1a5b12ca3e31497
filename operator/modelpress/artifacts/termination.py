"""How a program in a container reports its end: JSON in the file that the kubelet puts into the pod's status.

Standard library and api only: workers use it too.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.contract import TERMINATION_MESSAGE, TERMINATION_MESSAGE_LIMIT, JobFailure
from modelpress.api.errors import ModelPressError, UsageError

_CHARACTERS = 3000  # as JobFailure allows
_log = logging.getLogger(__name__)


def run_reporting(program: Callable[[], None], unexpected: Reason = Reason.POD_CRASHED) -> int:
    """Run `program` and return the container's exit code; a failure is logged and reported.

    An error that is not one of modelpress.api.errors is ours: its traceback goes to the log, and the report
    has the reason `unexpected` and says only its type.
    """
    try:
        program()
    except ModelPressError as error:
        _log.error("%s: %s", error.reason, error.message)
        report(error.reason, error.message)
        return error.exit_code
    except MemoryError:
        _log.exception("Out of memory.")
        report(Reason.OUT_OF_MEMORY, "the program needs more memory than it may use")
        return ModelPressError.exit_code
    except Exception as error:
        _log.exception("Unexpected error.")
        report(unexpected, f"unexpected {type(error).__name__}; see the log")
        return ModelPressError.exit_code
    return 0


def report(reason: Reason, message: str) -> None:
    """Write a failure as the termination message."""
    write(failure(reason, message))


def write(text: str) -> None:
    """Write to the file that MODELPRESS_TERMINATION_MESSAGE names, if it names one."""
    path = os.environ.get(TERMINATION_MESSAGE)
    if not path:
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        _log.warning("%s: the end cannot be reported: %s", path, error.strerror)


def failure(reason: Reason, message: str) -> str:
    """Return a JobFailure of one line that fits into a termination message, which counts bytes."""
    line = " ".join(message.split())[:_CHARACTERS]
    while True:
        text = JobFailure(reason=reason, message=line).model_dump_json(by_alias=True)
        if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
            return text
        line = line[: len(line) * 3 // 4]


def required(name: str) -> str:
    """Return an environment variable. Raises UsageError where it is unset."""
    value = os.environ.get(name)
    if not value:
        raise UsageError(Reason.INVALID_SPEC, f"the environment variable {name} is not set")
    return value
