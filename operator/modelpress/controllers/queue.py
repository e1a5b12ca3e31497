"""A work queue of keys: each waits once, is processed by one worker at a time, and retried with back-off.

Kopf never retries errors of its event handlers, so this queue owns retries and delayed looks. It knows
nothing of Kubernetes; every method but `run` must be called on the event loop.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from modelpress.planning.backoff import pause

K = TypeVar("K", bound=Hashable)

# After a step a key rests, for as long as the step took: such as one that looks at thousands of pods.
REST_SECONDS, _LONGEST_REST_SECONDS = 0.1, 2.0


class WorkQueue(Generic[K]):
    """De-duplicating queue.

    A key that is added while it waits is not added again; one that is added while it is processed is
    processed once more afterwards. `add` ends a wait for a retry: what changed may be the cure. But a key
    rests after each step, longer after a long one, so that a stream of changes costs the others little; and
    no group of keys has all the workers, so that one whose steps are slow holds up no other. What is added
    before the queue runs is processed with the newest change first: a standby collects all keys for hours.
    """

    def __init__(
        self,
        process: Callable[[K], Awaitable[float | None]],
        *,
        backoff: tuple[float, float],
        group: Callable[[K], Hashable] = lambda key: key,
        most_of_group: int = 1,
    ) -> None:
        """`process` returns the seconds until the next look, or None; it logs its own errors.

        `backoff` is the first and the longest pause after an error, in seconds; each error doubles it. Of the
        keys of one `group` at most `most_of_group` are processed at once.
        """
        self._process = process
        self._first, self._longest = backoff
        self._group, self._most = group, most_of_group
        self._running = False
        self._collected: dict[K, None] = {}  # before it ran; in the order of the last change
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()  # in _ready or _held
        self._held: dict[Hashable, deque[K]] = {}  # by group: until one of it is done
        self._working: Counter[Hashable] = Counter()  # by group
        self._resting: dict[K, bool] = {}  # whether it was added since
        self._active: set[K] = set()  # with a worker
        self._again: set[K] = set()  # added while active
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._errors: dict[K, int] = {}  # in a row

    def __len__(self) -> int:
        """Return how many keys are due or being processed."""
        return len(self._collected) + len(self._waiting) + len(self._active)

    def add(self, key: K) -> None:
        """Have a key processed as soon as a worker is free."""
        self._cancel_timer(key)
        if not self._running:
            self._collected.pop(key, None)
            self._collected[key] = None
        elif key in self._active:
            self._again.add(key)
        elif key in self._resting:
            self._resting[key] = True
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Have a key processed after a pause; a later call replaces the pause of an earlier one."""
        self._cancel_timer(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self.add, key)

    async def run(self, workers: int) -> None:
        """Process keys until cancelled; steps that run then are waited for."""
        self._running = True
        for key in reversed(self._collected):
            self.add(key)
        self._collected.clear()
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
            group = self._group(key)
            if self._working[group] >= self._most:
                self._held.setdefault(group, deque()).append(key)
                continue
            self._working[group] += 1
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
        began = time.monotonic()
        try:
            pause = await self._process(key)
            self._errors.pop(key, None)
        except Exception:
            pause = self._backoff(key)
        self._active.discard(key)
        self._release(self._group(key))
        self._rest(key, time.monotonic() - began)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif pause is not None:
            self.add_after(key, pause)

    def _release(self, group: Hashable) -> None:
        """Let the next key of a group take the place of one that is done."""
        self._working[group] -= 1
        if not self._working[group]:
            del self._working[group]
        held = self._held.get(group)
        if held:
            self._ready.put_nowait(held.popleft())
        else:
            self._held.pop(group, None)

    def _rest(self, key: K, took: float) -> None:
        """Let the changes of a key gather for some time after a step."""
        self._resting[key] = False
        seconds = min(_LONGEST_REST_SECONDS, max(REST_SECONDS, took))
        asyncio.get_running_loop().call_later(seconds, self._rested, key)

    def _rested(self, key: K) -> None:
        if self._resting.pop(key):
            self.add(key)

    def _backoff(self, key: K) -> float:
        count = self._errors.get(key, 0)
        self._errors[key] = count + 1
        return pause(self._first, self._longest, count)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
