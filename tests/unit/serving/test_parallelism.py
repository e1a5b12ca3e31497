import queue
import threading
import time
from typing import Any

import numpy as np
import pytest

from modelpress.serving.executors.base import Arrays, InputError
from modelpress.serving.placement.parallelism import (
    DataParallel,
    Pipeline,
    Result,
    Stage,
    micro_batches,
    split,
)


class Echo:
    """An executor that returns its input, as late as it is told."""

    def __init__(self, delay: Any = lambda array: 0.0) -> None:
        self.delay = delay
        self.seen: list[Any] = []

    def run(self, inputs: Arrays) -> list[Any]:
        self.seen.append(inputs[0].copy())
        time.sleep(self.delay(inputs[0]))
        if (inputs[0] < 0).any():
            raise InputError("negative")
        return [inputs[0] * 2]

    def close(self) -> None:
        self.seen.append("closed")


def column(*values: float) -> list[Any]:
    return [np.array(values, "float32").reshape(-1, 1)]


def test_outputs_keep_the_order_of_rows_when_the_first_copy_is_the_slowest() -> None:
    copies = [Pipeline([Stage(Echo(lambda array, late=late: late), "copy")]) for late in (0.05, 0.02, 0.0)]
    assert DataParallel(copies).run(column(1, 2, 3, 4, 5))[0].ravel().tolist() == [2, 4, 6, 8, 10]


def test_stages_work_on_different_micro_batches_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=30)  # passed only when both stages are in a call at once

    def meet() -> float:
        meeting.wait()
        return 0.0

    first = Echo(lambda array: meet() if array.min() >= 8 else 0.0)  # the second micro-batch
    second = Echo(lambda array: meet() if array.max() < 16 else 0.0)  # the first one
    rows = np.arange(16, dtype="float32").reshape(-1, 1)
    pipeline = DataParallel([Pipeline([Stage(first, "first"), Stage(second, "second")])])
    assert (pipeline.run([rows])[0] == rows * 4).all()
    assert [len(seen) for seen in first.seen] == [8, 8]


def test_a_batch_behind_another_is_not_cut() -> None:
    gate = threading.Event()
    first, second = Echo(lambda _: 0.0 if gate.wait(10) else 1.0), Echo()
    pipeline = Pipeline([Stage(first, "first"), Stage(second, "second")])
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    for _ in range(2):
        pipeline.submit(column(*range(32)), results.put)
    gate.set()
    for _ in range(2):
        assert isinstance(results.get(timeout=10), list)
    pipeline.submit(column(*range(32)), results.put)  # nothing is under way any more
    assert isinstance(results.get(timeout=10), list)
    assert [len(seen) for seen in second.seen] == [8, 8, 8, 8, 32, 8, 8, 8, 8]
    pipeline.close()


def test_a_stage_that_is_behind_holds_up_the_one_before_it() -> None:
    gate = threading.Event()
    first, second = Echo(), Echo(lambda _: 0.0 if gate.wait(10) else 1.0)
    pipeline = Pipeline([Stage(first, "first"), Stage(second, "second")])
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    for value in range(20):
        pipeline.submit(column(value), results.put)
    while len(first.seen) < 4:  # one in the second stage, two in its queue, one in the first stage's hand
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(first.seen) == 4
    gate.set()
    values = [results.get(timeout=10) for _ in range(20)]
    assert [value[0].item() for value in values if isinstance(value, list)] == [4 * v for v in range(20)]


def test_an_error_reaches_its_own_batch_only() -> None:
    spread = DataParallel([Pipeline([Stage(Echo(), "a"), Stage(Echo(), "b")]) for _ in range(2)])
    with pytest.raises(InputError, match="negative"):
        spread.run(column(1, 2, -3, 4))
    assert spread.run(column(1, 2, 3))[0].ravel().tolist() == [4, 8, 12]


def test_closing_finishes_what_was_submitted_and_frees_the_executors() -> None:
    first, second = Echo(), Echo(lambda _: 0.01)
    pipeline = Pipeline([Stage(first, "closing-1"), Stage(second, "closing-2")])
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    for value in range(5):
        pipeline.submit(column(value), results.put)
    pipeline.close()
    assert results.qsize() == 5
    assert first.seen[-1] == second.seen[-1] == "closed"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closing")]


@pytest.mark.parametrize(
    ("count", "parts", "expected"),
    [
        (1, 2, [(0, 1)]),
        (5, 2, [(0, 3), (3, 5)]),
        (6, 3, [(0, 2), (2, 4), (4, 6)]),
        (7, 3, [(0, 3), (3, 5), (5, 7)]),
    ],
)
def test_rows_are_split_in_order_and_evenly(count: int, parts: int, expected: list[tuple[int, int]]) -> None:
    assert split(count, parts) == expected


@pytest.mark.parametrize(
    ("count", "stages", "expected"), [(64, 1, 1), (1, 3, 1), (15, 3, 1), (16, 3, 2), (65, 3, 6), (999, 2, 4)]
)
def test_micro_batches_fill_the_stages_but_are_never_small(count: int, stages: int, expected: int) -> None:
    assert micro_batches(count, stages) == expected
