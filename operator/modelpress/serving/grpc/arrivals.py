"""Messages while they arrive: how many at a time, and for how long they are waited for.

grpcio says nothing of a message before the whole is there. So calls are read as streams of one message: that
a call has begun is known while its message has not come, and those whose message does not come are ended.
"""

import asyncio
from typing import Any

import grpc

from modelpress.serving.errors import RequestError, TooSlow, Unavailable, Unimplemented

_SLOW_SECONDS = 0.5  # for which a message may be waited for even where other calls need its slot
_LEAVING_SECONDS = 0.05  # within which a call is cancelled that has ended because its caller left

Context = Any  # grpc.aio.ServicerContext


class Arrivals:
    """The messages of one kind of call. Each takes one of a few slots until it is decoded; other calls wait.

    Half of the slots may be taken for longer than half a second by messages that do not come. Used from the
    event loop only.
    """

    def __init__(self, slots: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._most_slow = slots // 2
        self._arriving: dict[asyncio.Task[Any], float] = {}  # the task of each call, and since when it waits
        self._given_up: dict[asyncio.Task[Any], RequestError] = {}
        self._ending = False

    async def receive(self, context: Context) -> bytes | None:
        """Return a call's next message, None at its end. Call `release` once it is not needed any more.

        Raises TooSlow where it takes too long, and Unavailable where the worker ends.
        """
        await self._slots.acquire()
        try:
            message = await self._read(context)
        except BaseException:
            self._slots.release()
            raise
        if message is grpc.aio.EOF:
            self._slots.release()
            return None
        return bytes(message)

    async def only(self, context: Context) -> bytes:
        """Return the message of a unary call, as `receive`. Raises Unimplemented where there is none."""
        message = await self.receive(context)
        if message is None:
            await asyncio.sleep(_LEAVING_SECONDS)
            raise Unimplemented("the call has no message")
        return message

    async def _read(self, context: Context) -> Any:
        if self._ending:
            raise worker_ends()
        task = asyncio.current_task()
        assert task is not None
        self._arriving[task] = asyncio.get_running_loop().time()
        try:
            return await context.read()
        except asyncio.CancelledError:
            error = self._given_up.get(task)
            if error is None:  # the caller left
                raise
            task.uncancel()
            raise error from None
        finally:
            del self._arriving[task]
            self._given_up.pop(task, None)

    def release(self) -> None:
        """Let the next message arrive in the place of one that `receive` returned."""
        self._slots.release()

    def check(self, now: float, seconds: float) -> None:
        """Give up messages that take more than `seconds`, or longer than other calls can wait."""
        for task in late(self._arriving, self._most_slow, now, seconds):
            self._give_up(task, TooSlow("the message did not arrive in time"))

    def end(self) -> None:
        """Give up all messages, and take no more: the worker ends."""
        self._ending = True
        for task in list(self._arriving):
            self._give_up(task, worker_ends())

    def _give_up(self, task: asyncio.Task[Any], error: RequestError) -> None:
        self._given_up[task] = error
        task.cancel()


def late(arriving: dict[Any, float], most_slow: int, now: float, seconds: float) -> list[Any]:
    """Return the calls to give up, of those that wait for a message since the time given for each.

    They are in the order of their beginning; all but the last `most_slow` have half a second.
    """
    calls = list(arriving.items())
    crowd = max(0, len(calls) - most_slow)
    return [
        call
        for index, (call, since) in enumerate(calls)
        if now - since > (min(seconds, _SLOW_SECONDS) if index < crowd else seconds)
    ]


def worker_ends() -> Unavailable:
    """Return what callers are told at the end."""
    return Unavailable("this worker ends; ask another one")
