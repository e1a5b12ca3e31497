import asyncio
import threading
import time

import numpy as np
import pytest

from modelpress.serving.batching.queue import Batcher, Limits
from modelpress.serving.batching.request import Answer
from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array, Arrays, Executor, InputError
from modelpress.serving.observability.metrics import Metrics
from modelpress.serving.placement.devices import InLoopRows, InLoopUpTo, OnThreads, batch_sizes, rows_in_loop
from modelpress.serving.placement.parallelism import DataParallel, Pipeline, Result, Stage


class Names:
    """An executor that returns its rows and notes the thread it ran on."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.closed = False

    def run(self, inputs: Arrays) -> list[Array]:
        self.threads.append(threading.current_thread().name)
        return list(inputs)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("hop", "calls", "shared", "alone"),
    [
        (9, {1: 5, 2: 6, 4: 7}, 4, 4),
        (9, {1: 5, 2: 9, 4: 10, 8: 577}, 2, 4),
        (9, {1: 5, 2: 10, 4: 7}, 1, 4),  # what is dearer in between counts
        (9, {1: 10, 2: 11, 4: 576}, 0, 4),
        (9, {1: 9}, 1, 1),
        (9, {1: 577}, 0, 0),
        (100, {1: 2000, 2: 2001}, 0, 1),  # no lone request takes the loop for longer
        (3000, {1: 2500, 2: 3001}, 1, 1),
    ],
)
def test_rows_in_loop_are_those_whose_call_costs_up_to_a_hop_or_alone_a_few(
    hop: int, calls: dict[int, int], shared: int, alone: int
) -> None:
    seconds = {rows: microseconds / 1e6 for rows, microseconds in calls.items()}
    assert rows_in_loop(seconds, hop / 1e6) == InLoopRows(shared, alone)


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (32, [1, 2, 4, 8, 16, 32])]
)
def test_batch_sizes_end_with_the_largest(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


class Overlap:
    """An executor that refuses rows of -1, and notes calls that overlap."""

    def __init__(self) -> None:
        self.calls = 0
        self.overlapped = False
        self._lock = threading.Lock()

    def run(self, inputs: Arrays) -> list[Array]:
        if not self._lock.acquire(blocking=False):
            self.overlapped = True
            raise RuntimeError("two calls at a time")
        try:
            self.calls += 1
            time.sleep(0.02)
            if (inputs[0] < 0).any():
                raise InputError("out of range")
            return list(inputs)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Nothing to free."""


def up_to_four_rows_in_the_loop(executor: Executor) -> InLoopUpTo:
    loop = asyncio.get_running_loop()
    threads = OnThreads(DataParallel([Pipeline([Stage(executor, "stage")])]), 1, loop)
    return InLoopUpTo(InLoopRows(4, 8), executor, threads)


def test_parts_of_a_refused_batch_are_computed_one_after_the_other() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        executor = Overlap()
        device = up_to_four_rows_in_the_loop(executor)
        batcher = Batcher(device, Limits(32, 0, 30, 1000, 10**6), Metrics())
        answers: list[asyncio.Future[Answer]] = []
        for rows, value in ((6, 1.0), (16, -1.0), (1, 2.0), (2, 3.0)):
            answers.append(loop.create_future())
            batcher.submit([np.full((rows, 1), value)], answers[-1].set_result)
        found = await asyncio.gather(*answers)
        assert not executor.overlapped
        assert executor.calls == 5  # together, then each alone
        assert isinstance(found[1], BadRequest)
        for answer, (rows, value) in zip(
            (found[0], found[2], found[3]), ((6, 1.0), (1, 2.0), (2, 3.0)), strict=True
        ):
            assert isinstance(answer, list)
            assert answer[0].tolist() == [[value]] * rows
        batcher.close()

    asyncio.run(run())


def test_only_a_request_that_no_other_waits_beside_is_alone() -> None:
    async def run() -> None:
        executor = Names()
        device = up_to_four_rows_in_the_loop(executor)
        batcher = Batcher(device, Limits(8, 0, 30, 1000, 10**6), Metrics())
        loop = asyncio.get_running_loop()
        for requests in (1, 2):  # of seven rows each: they share no batch
            answers = [loop.create_future() for _ in range(requests)]
            for answer in answers:
                batcher.submit([np.zeros((7, 1))], answer.set_result)
            await asyncio.gather(*answers)
        assert executor.threads == ["MainThread", "stage", "MainThread"]
        batcher.close()

    asyncio.run(run())


def test_small_batches_are_computed_by_the_caller_and_large_ones_on_the_thread() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        executor = Names()
        device = up_to_four_rows_in_the_loop(executor)
        for rows, alone in ((1, False), (4, False), (5, False), (5, True), (8, True), (9, True)):
            done: asyncio.Future[Result] = loop.create_future()
            device.start([np.zeros((rows, 3))], done.set_result, alone)
            result = await done
            assert not isinstance(result, Exception)
            assert result[0].shape == (rows, 3)
        assert executor.threads == ["MainThread", "MainThread", "stage", "MainThread", "MainThread", "stage"]
        device.close()
        assert executor.closed

    asyncio.run(run())
