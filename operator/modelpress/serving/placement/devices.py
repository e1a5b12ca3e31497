"""Where batches are computed: in the event loop's own turn, or on threads beside it.

A call that is cheaper than handing it to a thread and back runs in the loop; so does one of up to 64 times
that where no other request waits. `hop_seconds` measures the way to a thread and back, `call_seconds` calls
of several sizes, so that the choice follows the machine and the model.
"""

import asyncio
import contextlib
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from modelpress.serving.executors.base import Array, Arrays, Executor, rows
from modelpress.serving.placement.parallelism import DataParallel, Done, Pipeline, Result, Stage

_HOPS = 41  # how often the way to a thread and back is timed
# A lone request may hold up the loop for as long as so many ways to a thread and back, and so many seconds.
_ALONE_HOPS = 64
_ALONE_SECONDS = 0.002


class Device(Protocol):
    """What a batcher gives its batches to; used from the event loop only."""

    depth: int  # batches that it works on at the same time

    def start(self, inputs: Arrays, done: Done, alone: bool) -> None:
        """Compute a batch; `done` is called once, in the event loop, perhaps before this returns.

        `alone` says that no other request has come and is not answered yet.
        """

    def close(self) -> None:
        """Finish what was started and free the memory."""


class InLoop:
    """Computes in the caller: for calls that are cheaper than a change of threads."""

    depth = 1

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def start(self, inputs: Arrays, done: Done, alone: bool) -> None:
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

    def start(self, inputs: Arrays, done: Done, alone: bool) -> None:
        """Hand the batch to the threads."""

        def deliver(result: Result) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and no caller waits
                self._loop.call_soon_threadsafe(done, result)

        self._parallel.submit(inputs, deliver)

    def close(self) -> None:
        """End the threads."""
        self._parallel.close()


@dataclass(frozen=True, slots=True)
class InLoopRows:
    """Up to how many rows are computed in the event loop."""

    shared: int  # where other requests wait
    alone: int  # where none does


class InLoopUpTo:
    """Computes small batches in the caller, and larger ones on a thread.

    Both use one executor: a batcher never gives it more batches at a time than its depth.
    """

    depth = 1

    def __init__(self, most: InLoopRows, executor: Executor, threads: OnThreads) -> None:
        self._most = most
        self._in_loop = InLoop(executor)
        self._threads = threads

    def start(self, inputs: Arrays, done: Done, alone: bool) -> None:
        """Compute at once, or hand the batch to the thread."""
        most = self._most.alone if alone else self._most.shared
        device: Device = self._in_loop if rows(inputs) <= most else self._threads
        device.start(inputs, done, alone)

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
        device.start(inputs, arrived.set_result, alone=True)
        await arrived
        times.append(time.perf_counter() - start)
    device.close()
    return statistics.median(times)


def rows_in_loop(seconds_by_rows: Mapping[int, float], hop: float) -> InLoopRows:
    """Return up to how many rows a call is worth holding up the loop for; 0 if none is.

    Where others wait, that is a call that costs no more than the way to a thread and back. A lone request
    saves that way in any case, and delays only those that come meanwhile: for `alone_seconds` at most.
    `seconds_by_rows` has the time of calls of some sizes; between two of them the larger one counts.
    """

    def most(limit: float) -> int:
        dearer = [rows for rows, seconds in seconds_by_rows.items() if seconds > limit]
        return max((rows for rows in seconds_by_rows if rows < min(dearer, default=math.inf)), default=0)

    return InLoopRows(most(hop), most(alone_seconds(hop)))


def alone_seconds(hop: float) -> float:
    """Return how long a call may take that a lone request gets in the event loop."""
    return max(hop, min(_ALONE_HOPS * hop, _ALONE_SECONDS))


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
