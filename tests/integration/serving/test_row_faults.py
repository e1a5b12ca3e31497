"""Models whose outputs are not one entry for each row, and other faults of one batch: nobody else pays."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.serving.batching import queue
from modelpress.serving.batching.queue import Batcher
from modelpress.serving.batching.request import Answer
from modelpress.serving.errors import ModelFault
from modelpress.serving.executors.base import Arrays, RowError
from modelpress.serving.placement.devices import InLoop, OnThreads
from modelpress.serving.placement.parallelism import DataParallel, Pipeline, Result, Stage
from tests.support.serving.artifacts import failure, start, worker
from tests.support.serving.oip_requests import output, tensor
from tests.unit.serving.test_batching import Sizes, limits

Compute = Callable[[Any], Any]


def positive(rows: Any) -> Any:
    """Leave rows out."""
    return rows[rows[:, 0] > 0]


def ranges(rows: Any) -> Any:
    """Give entries as wide as the largest number."""
    return rows * np.ones((1, int(rows.max())), "float32")


class Computes:
    """An executor of one function."""

    def __init__(self, compute: Compute) -> None:
        self.compute = compute
        self.calls: list[list[float]] = []  # the rows of each

    def run(self, inputs: Arrays) -> list[Any]:
        self.calls.append(inputs[0][:, 0].tolist())
        return [self.compute(inputs[0])]

    def close(self) -> None:
        """Nothing to free."""


def column(*values: float) -> list[Any]:
    return [np.array(values, "float32").reshape(-1, 1)]


def spread(compute: Compute, copies: int, stages: int = 1) -> DataParallel:
    rest = [Computes(np.array) for _ in range(stages - 1)]
    return DataParallel(
        [
            Pipeline([Stage(executor, f"copy-{number}") for executor in (Computes(compute), *rest)])
            for number in range(copies)
        ]
    )


@pytest.mark.parametrize(("copies", "stages"), [(2, 1), (1, 2), (2, 2)])
def test_parts_that_do_not_join_end_no_thread(copies: int, stages: int) -> None:
    parallel = spread(ranges, copies, stages)
    good, bad = column(*[2] * 32), column(*[1] * 8, *[3] * 8, *[4] * 16)
    for _ in range(3):
        with pytest.raises(
            RowError, match=r"its rows have entries of shapes \[1\] and \[3\]|\[3\] and \[4\]"
        ):
            parallel.run(bad)
        assert parallel.run(good)[0].shape == (32, 2)
    closing = threading.Thread(target=parallel.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


def test_a_callback_that_fails_ends_no_thread() -> None:
    parallel = spread(np.array, 1)
    called = threading.Event()

    def fails(_: Result) -> None:
        called.set()
        raise ZeroDivisionError

    parallel.submit(column(1), fails)
    assert called.wait(60)
    assert parallel.run(column(2))[0].tolist() == [[2]]
    parallel.close()


def ask(compute: Compute, threads: bool, *requests: list[Any], **changes: Any) -> list[Answer]:
    """Return the answers to requests that come in one turn of the loop, and see that the queue is empty."""

    async def run() -> list[Answer]:
        loop = asyncio.get_running_loop()
        device = OnThreads(spread(compute, 1), 1, loop) if threads else InLoop(Computes(compute))
        batcher = Batcher(device, limits(**changes), Sizes())

        async def answers(*inputs: list[Any]) -> list[Answer]:
            futures = [loop.create_future() for _ in inputs]
            for arrays, future in zip(inputs, futures, strict=True):
                batcher.submit(arrays, future.set_result)
            return [await future for future in futures]

        found = await answers(*requests)
        assert isinstance((await answers(column(1)))[0], list)  # the device takes batches still
        assert (batcher.waiting_rows, batcher.waiting_bytes) == (0, 0)
        batcher.close()
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("threads", [False, True])
def test_rows_that_a_model_leaves_out_are_not_answered_with_those_of_others(threads: bool) -> None:
    first, second, third = ask(positive, threads, column(-1, 1), column(2, 3), column(-1))
    assert isinstance(second, list)
    assert second[0].tolist() == [[2], [3]]
    for fault, text in ((first, r"output 0 has shape \[1, 1\] for 2 rows"), (third, r"\[0, 1\] for 1 rows")):
        assert isinstance(fault, ModelFault)
        with pytest.raises(ModelFault, match=text):
            raise fault


@pytest.mark.parametrize("threads", [False, True])
def test_a_large_request_whose_parts_do_not_join_fails_alone(threads: bool) -> None:
    large, mate = ask(ranges, threads, column(1, 1, 1, 1, 2), column(2), max_batch_size=4)
    assert isinstance(large, ModelFault)
    assert "entries of shapes [1] and [2]" in large.message
    assert isinstance(mate, list)
    assert mate[0].tolist() == [[2, 2]]


def test_a_batch_that_cannot_be_formed_leaves_the_device_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(parts: Any) -> Any:
        if len(parts) > 1:
            raise MemoryError
        return list(parts[0])

    monkeypatch.setattr(queue, "concatenate", no_memory)
    found = ask(np.array, False, column(1), column(2))
    assert [answer[0].tolist() for answer in found if isinstance(answer, list)] == [[[1]], [[2]]]


def test_an_answer_that_cannot_be_given_keeps_no_other_waiting() -> None:
    async def run() -> None:
        batcher = Batcher(InLoop(Computes(np.array)), limits(), Sizes())
        future = asyncio.get_running_loop().create_future()

        def fails(_: Answer) -> None:
            raise ZeroDivisionError

        batcher.submit(column(1), fails)
        batcher.submit(column(2), future.set_result)
        assert (await future)[0].tolist() == [[2]]
        batcher.close()

    asyncio.run(run())


def test_batches_of_fewer_rows_than_copies_go_to_copies_that_are_idle() -> None:
    both = threading.Barrier(2)

    def together(rows: Any) -> Any:
        both.wait(60)  # passes when both copies compute
        return rows

    async def run() -> None:
        loop = asyncio.get_running_loop()
        device = OnThreads(spread(together, 2), 2, loop)
        batcher = Batcher(device, limits(max_batch_size=1), Sizes())
        futures = [loop.create_future() for _ in range(4)]
        for number, future in enumerate(futures):
            batcher.submit(column(number), future.set_result)
        found = await asyncio.gather(*futures)
        assert [answer[0].tolist() for answer in found] == [[[number]] for number in range(4)]
        batcher.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_batches_of_one_row_are_spread_over_pipelines_that_are_all_busy() -> None:
    gate = threading.Event()

    def held(rows: Any) -> Any:
        assert gate.wait(60)
        return rows

    executors = [Computes(held) for _ in range(3)]
    stages = [[Stage(executor, "first"), Stage(Computes(np.array), "last")] for executor in executors]
    parallel = DataParallel([Pipeline(chain) for chain in stages])
    done = threading.Semaphore(0)
    for number in range(9):
        parallel.submit(column(number), lambda _: done.release())
    gate.set()
    for _ in range(9):
        assert done.acquire(timeout=60)
    parallel.submit(column(9), lambda _: None)  # all are idle again: the first copy takes it
    parallel.close()
    assert [len(executor.calls) for executor in executors] == [4, 3, 3]


def test_every_copy_computes_its_share() -> None:
    executors = [Computes(np.array) for _ in range(3)]
    parallel = DataParallel([Pipeline([Stage(executor, "copy")]) for executor in executors])
    parallel.run(column(*range(7)))
    parallel.close()
    assert [rows for executor in executors for rows in executor.calls] == [[0, 1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("layout", [{"data": 2}, {}])
def test_a_worker_outlives_a_batch_of_unequal_rows(
    artifacts: Path, tmp_path: Path, layout: dict[str, int]
) -> None:
    """`spans` gives entries as wide as the largest of its rows, whatever a copy sees of them."""
    with worker(artifacts / "spans-float32", tmp_path, **layout) as running:
        for _, rows in itertools.product(range(2), ([2, 2], [1, 3], [2])):
            array = np.array(rows, "int32")
            answer = running.infer({"inputs": [tensor("lengths", array)]})
            if layout and rows == [1, 3]:
                assert answer.status_code == 500
                assert "entries of shapes [1] and [3]" in answer.json()["error"]
            else:
                expected = np.arange(max(rows)) < array[:, None]
                assert output(answer).tolist() == expected.astype("int32").tolist()


def test_an_output_that_is_no_entry_for_each_row_is_not_loaded(artifacts: Path, tmp_path: Path) -> None:
    process, _, termination, _ = start(artifacts / "table-float32", tmp_path)
    told = failure(process, termination, 65)
    assert told.reason is Reason.UNSUPPORTED_MODEL
    assert "has shape [2] for 1 rows: only outputs with one entry for each row can be served" in told.message
