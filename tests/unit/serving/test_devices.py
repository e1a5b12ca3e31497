import asyncio
import threading

import numpy as np
import pytest

from modelpress.serving.devices import InLoopUpTo, OnThreads, batch_sizes, rows_in_loop
from modelpress.serving.executors.base import Array, Arrays
from modelpress.serving.parallelism import DataParallel, Pipeline, Result, Stage


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
    ("calls", "rows"),
    [
        ({1: 5.0, 2: 6.0, 4: 7.0}, 4),
        ({1: 5.0, 2: 9.0, 4: 10.0}, 2),
        ({1: 5.0, 2: 9.1, 4: 7.0}, 1),  # what is dearer in between counts
        ({1: 9.1, 2: 9.2, 4: 9.3}, 0),
        ({1: 9.0}, 1),
    ],
)
def test_rows_in_loop_is_the_largest_size_that_costs_no_more_than_a_hop(
    calls: dict[int, float], rows: int
) -> None:
    assert rows_in_loop(calls, 9.0) == rows


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (32, [1, 2, 4, 8, 16, 32])]
)
def test_batch_sizes_end_with_the_largest(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


def test_small_batches_are_computed_by_the_caller_and_large_ones_on_the_thread() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        executor = Names()
        threads = OnThreads(DataParallel([Pipeline([Stage(executor, "stage")])]), 1, loop)
        device = InLoopUpTo(4, executor, threads)
        for rows in (1, 4, 5, 2):
            done: asyncio.Future[Result] = loop.create_future()
            device.start([np.zeros((rows, 3))], done.set_result)
            result = await done
            assert not isinstance(result, Exception)
            assert result[0].shape == (rows, 3)
        assert executor.threads == ["MainThread", "MainThread", "stage", "MainThread"]
        device.close()
        assert executor.closed

    asyncio.run(run())
