"""The work queue: one worker per key at a time, nothing lost, retries with back-off."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from modelpress.controllers.queue import REST_SECONDS, WorkQueue

Process = Callable[[str], Awaitable[float | None]]


async def _drive(
    process: Process, script: Callable[[WorkQueue[str]], Awaitable[None]], workers: int = 3
) -> None:
    """Run a queue while `script` uses it."""
    queue = WorkQueue(process, backoff=(0.001, 0.004))
    running = asyncio.create_task(queue.run(workers))
    try:
        await asyncio.wait_for(script(queue), timeout=10)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_key_added_many_times_before_a_worker_is_free_is_processed_once() -> None:
    seen: Counter[str] = Counter()

    async def process(key: str) -> None:
        seen[key] += 1

    async def script(queue: WorkQueue[str]) -> None:
        for _ in range(100):
            queue.add("a")
        queue.add("b")
        await _until(lambda: seen["b"] == 1)

    asyncio.run(_drive(process, script))
    assert seen == {"a": 1, "b": 1}


def test_one_key_is_never_processed_twice_at_once_and_no_change_is_lost() -> None:
    active: set[str] = set()
    overlaps: list[str] = []
    finished: Counter[str] = Counter()

    async def process(key: str) -> None:
        if key in active:
            overlaps.append(key)
        active.add(key)
        await asyncio.sleep(0.002)
        active.discard(key)
        finished[key] += 1

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await _until(lambda: "a" in active)
        for _ in range(5):
            queue.add("a")
        await _until(lambda: finished["a"] == 2)
        await asyncio.sleep(0.02)

    asyncio.run(_drive(process, script))
    assert overlaps == []
    assert finished["a"] == 2, "changes during a step are one more step"


def test_different_keys_are_processed_at_the_same_time() -> None:
    together = asyncio.Barrier(3)
    done: list[str] = []

    async def process(key: str) -> None:
        await together.wait()  # passes only when three steps are here at once
        done.append(key)

    async def script(queue: WorkQueue[str]) -> None:
        for key in "abc":
            queue.add(key)
        await _until(lambda: len(done) == 3)

    asyncio.run(_drive(process, script))
    assert sorted(done) == ["a", "b", "c"]


def test_the_pause_that_a_step_returns_leads_to_another_look() -> None:
    looks: list[str] = []

    async def process(key: str) -> float | None:
        looks.append(key)
        return 0.001 if len(looks) < 4 else None

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await _until(lambda: len(looks) == 4)
        await asyncio.sleep(0.02)

    asyncio.run(_drive(process, script))
    assert looks == ["a"] * 4


def test_a_failing_step_is_retried_until_it_succeeds() -> None:
    attempts: list[str] = []

    async def process(key: str) -> None:
        attempts.append(key)
        if len(attempts) < 6:
            raise RuntimeError("the API server is away")

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await _until(lambda: len(attempts) == 6)
        await asyncio.sleep(0.02)

    asyncio.run(_drive(process, script))
    assert attempts == ["a"] * 6


class _Timers(asyncio.SelectorEventLoop):
    """An event loop that notes the pauses asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def call_later(  # type: ignore[override]  # the types of its arguments do not matter here
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self.pauses.append(delay)
        return super().call_later(0, callback, *args, context=context)


def test_each_error_in_a_row_doubles_the_pause_up_to_the_longest() -> None:
    attempts = 0

    async def main() -> list[float]:
        done = asyncio.Event()

        async def process(key: str) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 6:  # a success in between starts anew
                queue.add("a")
                return
            if attempts == 8:
                done.set()
                return
            raise RuntimeError("no")

        queue = WorkQueue(process, backoff=(0.5, 4.0))
        running = asyncio.create_task(queue.run(1))
        queue.add("a")
        await done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Timers)
        return [pause for pause in loop.pauses if pause != REST_SECONDS]

    with asyncio.Runner(loop_factory=_Timers) as runner:
        assert runner.run(main()) == [0.5, 1.0, 2.0, 4.0, 4.0, 0.5]


def test_a_change_ends_the_wait_for_a_retry() -> None:
    attempts: list[str] = []

    async def process(key: str) -> None:
        attempts.append(key)
        if len(attempts) == 1:
            raise RuntimeError("wrong spec")

    async def main() -> None:
        queue = WorkQueue(process, backoff=(3600, 3600))
        running = asyncio.create_task(queue.run(1))
        queue.add("a")
        await _until(lambda: len(attempts) == 1)
        await asyncio.sleep(0.005)
        queue.add("a")
        await _until(lambda: len(attempts) == 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), timeout=10))


def test_stopping_waits_for_the_step_that_runs() -> None:
    steps: list[str] = []

    async def main() -> None:
        started = asyncio.Event()

        async def process(key: str) -> None:
            started.set()
            await asyncio.sleep(0.02)
            steps.append(key)

        queue = WorkQueue(process, backoff=(1, 1))
        running = asyncio.create_task(queue.run(2))
        queue.add("a")
        await started.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
    assert steps == ["a"]


def test_changes_that_come_while_a_key_rests_are_one_step() -> None:
    seen: Counter[str] = Counter()

    async def process(key: str) -> None:
        seen[key] += 1

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await _until(lambda: seen["a"] == 1)
        for _ in range(100):
            queue.add("a")
            await asyncio.sleep(0)
        await _until(lambda: seen["a"] == 2)
        await asyncio.sleep(2 * REST_SECONDS)

    asyncio.run(_drive(process, script))
    assert seen == {"a": 2}


def test_slow_steps_of_one_group_leave_workers_to_the_others_and_each_is_taken_in_turn() -> None:
    free = asyncio.Event()
    begun: list[str] = []
    most = 0
    active = 0

    async def process(key: str) -> None:
        nonlocal active, most
        begun.append(key)
        if key.startswith("slow"):
            active += 1
            most = max(most, active)
            await free.wait()
            active -= 1

    async def main() -> None:
        queue = WorkQueue(process, backoff=(1, 1), group=lambda key: key.split("/")[0], most_of_group=2)
        running = asyncio.create_task(queue.run(3))
        await asyncio.sleep(0)  # it runs: keys are taken in the order in which they come
        for number in range(20):
            queue.add(f"slow/{number}")
        queue.add("quick/1")
        await _until(lambda: "quick/1" in begun)
        assert begun == ["slow/0", "slow/1", "quick/1"]
        queue.add("slow/5")  # waits already
        free.set()
        await _until(lambda: len(begun) == 21)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), timeout=10))
    assert most == 2
    assert begun == ["slow/0", "slow/1", "quick/1", *(f"slow/{number}" for number in range(2, 20))]


def test_what_was_added_before_it_runs_is_processed_once_with_the_newest_change_first() -> None:
    seen: list[str] = []

    async def process(key: str) -> None:
        seen.append(key)

    async def main() -> None:
        queue = WorkQueue(process, backoff=(1, 1))
        for key in "abcab":
            queue.add(key)
        assert len(queue) == 3
        running = asyncio.create_task(queue.run(1))
        await _until(lambda: len(seen) == 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), timeout=10))
    assert seen == ["b", "a", "c"]
