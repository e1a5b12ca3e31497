"""Progress of fsspec transfers, told to a Meter."""

from fsspec.callbacks import Callback

from modelpress.artifacts.meter import Meter


class MeterCallback(Callback):  # type: ignore[misc]  # fsspec has no types
    """Tells fsspec's progress to a Meter."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def set_size(self, size: int | None) -> None:
        """Take the size of the transfer, where the server says it and it was not known before."""
        if self._meter.total is None:
            self._meter.total = size

    def relative_update(self, inc: int = 1) -> None:
        """Count `inc` more bytes."""
        self._meter.advance(inc)
