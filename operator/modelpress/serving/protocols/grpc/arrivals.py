"""How many messages may take long to arrive: what has come of one is in memory, which grpcio does not bound.

Small messages are there at once. Of those that take longer only a few may be under way; for one more, the one
that has taken the longest is refused.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from modelpress.serving.errors import Overloaded, RequestError, TooSlow

_SLOW_BYTES = 1 << 30
_FEWEST, _MOST = 4, 64


@dataclass(frozen=True, slots=True)
class ArrivalLimits:
    """After how many seconds a message is slow, and refused; how many may be slow at a time."""

    slow: int
    refuse_seconds: float
    slow_seconds: float = 1


def slow_messages(max_request_bytes: int) -> int:
    """Return how many messages may be slow: about 1 GiB of the largest ones, at least 4 and at most 64."""
    return min(_MOST, max(_FEWEST, _SLOW_BYTES // max_request_bytes))


class Arrivals:
    """The messages that arrive. Used from the event loop only."""

    def __init__(self, limits: ArrivalLimits) -> None:
        self._limits = limits
        self._slow: dict[asyncio.Task[object], asyncio.TimerHandle] = {}  # the slowest one is first
        self._refused: dict[asyncio.Task[object], RequestError] = {}

    async def take(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what `read` returns.

        Raises Overloaded where it is refused for another message, and TooSlow.
        """
        task = asyncio.current_task()
        assert task is not None
        timer = asyncio.get_running_loop().call_later(self._limits.slow_seconds, self._is_slow, task)
        try:
            return await read()
        except asyncio.CancelledError:
            if task not in self._refused:
                raise
            task.uncancel()
            raise self._refused[task] from None
        finally:
            timer.cancel()
            self._forget(task)
            self._refused.pop(task, None)

    def _is_slow(self, task: asyncio.Task[object]) -> None:
        seconds = self._limits.refuse_seconds
        late = TooSlow(f"the message did not arrive within {seconds:g} seconds")
        self._slow[task] = asyncio.get_running_loop().call_later(
            max(0, seconds - self._limits.slow_seconds), self._refuse, task, late
        )
        if len(self._slow) > self._limits.slow:
            busy = Overloaded("too many large requests arrive at once; try again later")
            self._refuse(next(iter(self._slow)), busy)

    def _refuse(self, task: asyncio.Task[object], error: RequestError) -> None:
        self._forget(task)
        self._refused[task] = error
        task.cancel()

    def _forget(self, task: asyncio.Task[object]) -> None:
        timer = self._slow.pop(task, None)
        if timer is not None:
            timer.cancel()
