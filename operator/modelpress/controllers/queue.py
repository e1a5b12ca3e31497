"""A work queue of keys: each waits once, is processed by one worker at a time, and retried with back-off.

Kopf never retries errors of its event handlers, so this queue owns retries and delayed looks. It knows
nothing of Kubernetes; every method but `run` must be called on the event loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """De-duplicating queue.

    A key that is added while it waits is not added again; one that is added while it is processed is
    processed once more afterwards. `add` ends a wait for a retry: what changed may be the cure.
    """

    def __init__(
        self, process: Callable[[K], Awaitable[float | None]], *, backoff: tuple[float, float]
    ) -> None:
        """`process` returns the seconds until the next look, or None; it logs its own errors.

        `backoff` is the first and the longest pause after an error, in seconds; each error doubles it.
        """
        self._process = process
        self._first, self._longest = backoff
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()  # in _ready
        self._active: set[K] = set()  # with a worker
        self._again: set[K] = set()  # added while active
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._errors: dict[K, int] = {}  # in a row

    def add(self, key: K) -> None:
        """Have a key processed as soon as a worker is free."""
        self._cancel_timer(key)
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Have a key processed after a pause; a later call replaces the pause of an earlier one."""
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.add, key)

    async def run(self, workers: int) -> None:
        """Process keys until cancelled; steps that run then are waited for."""
        tasks = [asyncio.create_task(self._work(), name=f"worker {number}") for number in range(workers)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._active.add(key)
            step = asyncio.ensure_future(self._step(key))
            try:
                await asyncio.shield(step)
            except asyncio.CancelledError:
                await step  # a thread cannot be stopped half way, and its writes must be complete
                raise

    async def _step(self, key: K) -> None:
        """Process one key and decide when it is due again."""
        pause: float | None
        try:
            pause = await self._process(key)
            self._errors.pop(key, None)
        except Exception:
            pause = self._backoff(key)
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif pause is not None:
            self.add_after(key, pause)

    def _backoff(self, key: K) -> float:
        count = self._errors.get(key, 0)
        self._errors[key] = count + 1
        return min(self._longest, self._first * 2.0 ** min(count, 30))

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
