"""Progress of fsspec transfers, reported to a Meter, and their end where they become too large."""

from fsspec.callbacks import Callback

from modelpress.artifacts.meter import Meter
from modelpress.artifacts.sources.limits import Limits


class MeterCallback(Callback):  # type: ignore[misc]  # fsspec has no types
    """Tells fsspec's progress of one file to a Meter."""

    def __init__(self, meter: Meter, limits: Limits) -> None:
        super().__init__()
        self._meter = meter
        self._limits = limits
        self._done = 0  # bytes of this file

    def set_size(self, size: int | None) -> None:
        """Take the size of the transfer, where the server says it and it was not known before."""
        if self._meter.total is None:
            self._limits.check(size or 0)
            self._meter.total = size

    def relative_update(self, inc: int = 1) -> None:
        """Count `inc` more bytes."""
        self._done += inc
        self._meter.advance(inc)
        self._limits.check(self._meter.done)

    def absolute_update(self, value: int) -> None:
        """Take the bytes of the file that have come so far; parts may report out of order."""
        self.relative_update(max(0, value - self._done))
