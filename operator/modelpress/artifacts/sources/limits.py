"""How large a download may become, and how long it may take: a server may send for ever."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from pydantic import ValidationError

from modelpress.api.conditions import Reason
from modelpress.api.contract import DOWNLOADS, Downloads, first_error
from modelpress.api.errors import DataError, UnavailableError, UsageError

_GIB = 2**30
_MODEL = "spec.model"


@dataclass(frozen=True)
class Limits:
    """Of one download; `shown` names it in messages."""

    shown: str
    max_bytes: int
    reason: Reason  # of one that is larger

    def check(self, size: int) -> None:
        """Raise DataError (InvalidModel, InvalidData) where a download is, or says that it is, too large."""
        if size > self.max_bytes:
            raise DataError(self.reason, f"{self.shown}: is larger than {self.max_bytes // _GIB} GiB")


def of(what: str, shown: str) -> Limits:
    """Return the limits of a field of the spec: what is larger is not loaded either (models, data sets)."""
    if what == _MODEL:
        return Limits(shown, 16 * _GIB, Reason.INVALID_MODEL)
    return Limits(shown, 64 * _GIB, Reason.INVALID_DATA)


def settings() -> Downloads:
    """Return what the operator says of downloads. Raises UsageError (InvalidSpec) where it is not that."""
    try:
        return Downloads.model_validate_json(os.environ.get(DOWNLOADS, "{}"), strict=True, extra="forbid")
    except ValidationError as error:
        raise UsageError(Reason.INVALID_SPEC, f"{DOWNLOADS}: {first_error(error)}") from error


class _DeadlinePassed(BaseException):
    """Passes all handlers of errors on its way out of a library."""


@contextmanager
def deadline(seconds: float, shown: str) -> Iterator[None]:
    """End what runs in the main thread after a time, whatever library it is in.

    Raises UnavailableError (SourceUnavailable). In another thread, where no signal arrives, nothing is ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise _DeadlinePassed

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _DeadlinePassed as passed:
        raise UnavailableError(
            Reason.SOURCE_UNAVAILABLE, f"{shown}: took longer than {seconds:.0f} seconds"
        ) from passed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
