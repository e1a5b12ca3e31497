"""Where batches are computed: in the event loop's own turn, or on threads beside it.

A call that is cheaper than handing it to a thread and back runs in the loop. `hop_seconds` measures that
way and `call_seconds` calls of several sizes, so that the choice follows the machine and the model. Must not
import a runtime.
"""

import asyncio
import contextlib
import math
import statistics
import time
from collections.abc import Mapping
from typing import Protocol

from modelpress.serving.executors.base import Array, Arrays, Executor, rows
from modelpress.serving.parallelism import DataParallel, Done, Pipeline, Result, Stage

_HOPS = 41


class Device(Protocol):
    """What a batcher gives its batches to; used from the event loop only."""

    depth: int  # batches that it works on at the same time

    def start(self, inputs: Arrays, done: Done) -> None:
        """Compute a batch; `done` is called once, in the event loop, perhaps before this returns."""

    def close(self) -> None:
        """Finish what was started and free the memory."""


class InLoop:
    """Computes in the caller: for calls that are cheaper than a change of threads."""

    depth = 1

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def start(self, inputs: Arrays, done: Done) -> None:
        """Compute at once."""
        try:
            result: Result = self._executor.run(inputs)
        except Exception as error:
            result = error
        done(result)

    def close(self) -> None:
        """Free the executor."""
        self._executor.close()


class OnThreads:
    """Computes on the threads of a DataParallel; one wake-up of the loop for each batch."""

    def __init__(self, parallel: DataParallel, depth: int, loop: asyncio.AbstractEventLoop) -> None:
        self.depth = depth
        self._parallel = parallel
        self._loop = loop

    def start(self, inputs: Arrays, done: Done) -> None:
        """Hand the batch to the threads."""

        def deliver(result: Result) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(done, result)

        self._parallel.submit(inputs, deliver)

    def close(self) -> None:
        """End the threads."""
        self._parallel.close()


class InLoopUpTo:
    """Computes small batches in the caller, and those that cost more than a change of threads on one.

    Both use one executor: a batcher never gives it more batches at a time than its depth.
    """

    depth = 1

    def __init__(self, rows: int, executor: Executor, threads: OnThreads) -> None:
        self._rows = rows
        self._in_loop = InLoop(executor)
        self._threads = threads

    def start(self, inputs: Arrays, done: Done) -> None:
        """Compute at once, or hand the batch to the thread."""
        device: Device = self._in_loop if rows(inputs) <= self._rows else self._threads
        device.start(inputs, done)

    def close(self) -> None:
        """End the thread, which frees the executor."""
        self._threads.close()


class _Nothing:
    """An executor that computes nothing, to measure the way there and back."""

    def run(self, inputs: Arrays) -> list[Array]:
        return list(inputs)

    def close(self) -> None:
        """Nothing to free."""


async def hop_seconds(inputs: Arrays) -> float:
    """Return the median time from the loop to a device thread and back into the loop."""
    loop = asyncio.get_running_loop()
    device = OnThreads(DataParallel([Pipeline([Stage(_Nothing(), "hop")])]), 1, loop)
    times = []
    for _ in range(_HOPS):
        arrived: asyncio.Future[Result] = loop.create_future()
        start = time.perf_counter()
        device.start(inputs, arrived.set_result)
        await arrived
        times.append(time.perf_counter() - start)
    device.close()
    return statistics.median(times)


def rows_in_loop(seconds_by_rows: Mapping[int, float], hop: float) -> int:
    """Return up to how many rows a call costs no more than the way to a thread and back; 0 if none does.

    `seconds_by_rows` has the time of calls of some sizes; between two of them the larger one counts.
    """
    dearer = [rows for rows, seconds in seconds_by_rows.items() if seconds > hop]
    return max((rows for rows in seconds_by_rows if rows < min(dearer, default=math.inf)), default=0)


def batch_sizes(max_rows: int) -> list[int]:
    """Return the numbers of rows worth measuring: powers of two, and the largest."""
    return [2**power for power in range(max_rows.bit_length()) if 2**power < max_rows] + [max_rows]


def call_seconds(executor: Executor, inputs: Arrays) -> float:
    """Return the median time of five calls, after one that resizes."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        executor.run(inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
