"""The steps of a compression as they are shown, timed and measured: name, seconds, peak memory."""

import logging
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from modelpress.compression.memory import PeakMeter
from modelpress.compression.report.document import StepReport
from modelpress.logs import progress

_log = logging.getLogger(__name__)
BEAT = 10.0  # seconds; loading and converting a large model takes minutes and says nothing by itself


class Steps:
    """Tells how far the work is: at the start of each step, and every ten seconds while it lasts."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._current = 0
        self._start = time.monotonic()
        self._done: list[StepReport] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._meter = PeakMeter()
        self._beats = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._meter.__enter__()
        self._start = time.monotonic()
        self._say()
        self._beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beats.join()
        self._meter.__exit__(kind, error, trace)
        if error is None:
            progress(_log, "compress", len(self._names), len(self._names))

    def next(self) -> None:
        """End the current step and begin the next one."""
        with self._lock:
            self._done.append(self._report())
            self._current += 1
            self._start = time.monotonic()
        self._say()

    def reports(self) -> tuple[StepReport, ...]:
        """Return the steps up to this moment."""
        return (*self._done, self._report())

    def _report(self) -> StepReport:
        return StepReport(
            name=self._names[self._current],
            seconds=round(time.monotonic() - self._start, 3),
            peak_bytes=self._meter.peak(),
        )

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with self._lock:
                seconds = round(time.monotonic() - self._start)
            if seconds >= BEAT:
                self._say(seconds=seconds)

    def _say(self, **facts: int) -> None:
        total = len(self._names)
        progress(_log, "compress", self._current, total, doing=self._names[self._current], **facts)
