"""How far a transfer has come, reported a few times and not for every piece."""

import logging

from modelpress.logs import progress


class Meter:
    """Counts bytes and logs progress at most twenty times; the last time when the transfer is done."""

    def __init__(self, logger: logging.Logger, step: str, total: int | None = None) -> None:
        self._logger = logger
        self._step = step
        self._reported = 0
        self.done = 0
        self.total = total  # bytes; None where the sender does not say

    def advance(self, size: int) -> None:
        """Count `size` more bytes."""
        self.done += size
        if self.total and self.done < self.total and (self.done - self._reported) * 20 >= self.total:
            self._reported = self.done
            progress(self._logger, self._step, self.done, self.total)

    def finish(self) -> None:
        """Say that the transfer is done."""
        progress(self._logger, self._step, self.done, self.done)
