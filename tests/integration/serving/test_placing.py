"""Where a worker puts its model: in the event loop or on threads, by measurement; stages, by their cost."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.spec import Parallelism, Serving
from modelpress.serving.executors import stages
from modelpress.serving.executors.base import Arrays
from modelpress.serving.executors.partition import Costs
from modelpress.serving.loading import Loaded, load, place
from modelpress.serving.placement.devices import Device, InLoopUpTo, OnThreads
from modelpress.serving.signature import Signature, Tensor


class Takes:
    """An executor whose calls take as long as `seconds` says of their rows."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds = seconds

    def run(self, inputs: Arrays) -> list[Any]:
        time.sleep(self.seconds(len(inputs[0])))
        return list(inputs)

    def close(self) -> None:
        """Nothing to free."""


def placed(artifacts: Path, seconds: Callable[[int], float], size: int = 1, copies: int = 1) -> Device:
    """Return where a model of such calls is put."""
    tensors = (Tensor("x", (-1, size), np.dtype("float32")),)
    manifest = load(artifacts / "seed-int8").manifest
    loaded = Loaded(manifest, Signature(tensors, tensors), [[Takes(seconds)] for _ in range(copies)])

    async def run() -> Device:
        device = await place(loaded, Serving())
        device.close()
        return device

    return asyncio.run(run())


def test_calls_that_cost_less_than_a_thread_stay_in_the_loop(artifacts: Path) -> None:
    assert isinstance(placed(artifacts, lambda _: 0), InLoopUpTo)


def test_calls_that_would_hold_up_the_loop_go_to_a_thread(artifacts: Path) -> None:
    assert isinstance(placed(artifacts, lambda _: 0.1), OnThreads)


def test_the_sizes_whose_calls_are_long_go_to_the_thread(
    artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert isinstance(placed(artifacts, lambda rows: 0.1 if rows > 8 else 0), InLoopUpTo)
    assert "of up to 8 where nothing else waits" in caplog.text


def test_an_input_of_a_free_size_is_never_computed_in_the_loop(artifacts: Path) -> None:
    assert isinstance(placed(artifacts, lambda _: 0, size=-1), OnThreads)


@pytest.mark.parametrize(("copies", "batches"), [(2, 1), (33, 2), (64, 2)])
def test_as_many_batches_are_computed_at_a_time_as_fill_the_copies(
    artifacts: Path, copies: int, batches: int
) -> None:
    assert placed(artifacts, lambda _: 0, copies=copies).depth == batches


def test_stages_are_cut_where_the_measured_costs_say(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Costs] = []

    def slow_last(graph: Any, inputs: Arrays) -> Costs:
        times = np.ones(len(graph))
        times[-1] = 1000.0
        seen.append(Costs(times, np.zeros(len(graph))))
        return seen[0]

    monkeypatch.setattr(stages, "measure", slow_last)
    with caplog.at_level(logging.INFO):
        load(artifacts / "seed-float32", Parallelism(pipeline=2))
    assert f"Cut the model before operators {len(seen[0].microseconds) - 1}." in caplog.text
