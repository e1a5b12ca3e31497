"""From the signal to the end: requests are taken for a while more, since callers learn late that a pod ends.

Readiness turns false at once. Proxies, load balancers and resolvers go on sending for a moment: for the whole
of `seconds` every request is still taken, however quiet it is, and answers ask their callers to go elsewhere
(Connection: close, GOAWAY). SIGINT or a second signal skips the waiting, and so does a worker that was never
ready: no caller was sent to it.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator

from modelpress.serving.service import Phase, Service

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


class Drain:
    """The end of one worker. Used from the event loop only."""

    def __init__(self, service: Service, seconds: float) -> None:
        self._service = service
        self._seconds = seconds
        self.over = asyncio.Event()  # no new request is waited for: the servers should end
        self.hurry = False  # the end is not delayed for requests that may still come

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Begin on SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._begin, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _begin(self, number: int) -> None:
        before, self._service.phase = self._service.phase, Phase.DRAINING
        self.hurry = number == signal.SIGINT or before is not Phase.READY
        logger.info("Draining after %s.", signal.Signals(number).name)
        if self.hurry:
            self.over.set()
        else:
            asyncio.get_running_loop().call_later(self._seconds, self.over.set)
