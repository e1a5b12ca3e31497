"""Keeps the event loop awake for a moment after an answer, where the next request comes that soon.

A processor that idles takes tens of microseconds to wake, more on a virtual machine: as long as a small
request takes in all. The rule is that of Linux's guest halt polling (haltpoll; guest-halt-polling.rst in the
kernel's documentation), for requests: look for up to 200 us while it pays, and seldom after it did not. One
event loop.
"""

import asyncio
import time

_SECONDS = 200e-6  # haltpoll's default
# Requests in a row that must have come within that time; doubled by each moment in vain, halved by others.
_LEAST, _MOST = 8, 4096


class BusyPoll:
    """Looks for a next request by turns of the loop instead of sleeping."""

    def __init__(self) -> None:
        self._looking = False
        self._planned = False  # a turn of the loop
        self._idle_since = 0.0
        self._soon = 0  # requests in a row that came in time
        self._needed = _LEAST

    def arrived(self, now: float) -> None:
        """Note a request that comes when none is in flight; `now` as time.monotonic() gives it."""
        soon = now - self._idle_since <= _SECONDS
        self._soon = self._soon + 1 if soon else 0
        if self._looking and soon:
            self._needed = max(_LEAST, self._needed // 2)
        self._looking = False

    def idle(self, now: float) -> None:
        """Note that nothing is in flight any more; look for the next request if that may pay."""
        self._idle_since = now
        if self._soon < self._needed:
            return
        self._looking = True
        if not self._planned:
            self._plan()

    def _plan(self) -> None:
        self._planned = True
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Take a turn of the loop, which does not sleep before the next one."""
        self._planned = False
        if not self._looking:
            return
        if time.monotonic() - self._idle_since <= _SECONDS:
            self._plan()
            return
        self._looking = False
        self._needed = min(_MOST, self._needed * 2)
