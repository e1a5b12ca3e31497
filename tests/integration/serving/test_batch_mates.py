"""Requests that share a batch, of a real model: on the device alone, and in a worker process."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelpress.serving.batching.queue import Batcher
from modelpress.serving.batching.request import Answer
from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.placement.devices import InLoop, OnThreads
from modelpress.serving.placement.parallelism import DataParallel, Pipeline, Stage
from tests.support.serving.artifacts import equal, examples, worker
from tests.support.serving.oip_requests import output, tensor
from tests.unit.serving.test_batching import Sizes, limits


@pytest.mark.parametrize("threads", [False, True])
def test_a_request_that_the_model_refuses_fails_alone(models: Path, threads: bool) -> None:
    path = models / "two-int8.tflite"
    expected = LiteRTExecutor(path)

    async def run() -> None:
        executor = LiteRTExecutor(path)
        loop = asyncio.get_running_loop()
        parallel = DataParallel([Pipeline([Stage(executor, "device")])]) if threads else None
        device = OnThreads(parallel, 1, loop) if parallel else InLoop(executor)
        batcher = Batcher(device, limits(), Sizes())
        answers: list[asyncio.Future[Answer]] = [loop.create_future() for _ in range(4)]
        inputs = [examples(path, 2, seed=seed) for seed in range(4)]
        inputs[1][1][0, 0] = 1_000_000  # a token that the embedding does not have
        for arrays, answer in zip(inputs, answers, strict=True):
            batcher.submit(arrays, answer.set_result)
        results = await asyncio.gather(*answers)
        assert isinstance(results[1], BadRequest)
        for number in (0, 2, 3):
            result = results[number]
            assert isinstance(result, list)
            assert equal(result, expected.run(inputs[number]))
        batcher.close()

    asyncio.run(run())


def test_a_request_that_the_model_refuses_fails_alone_in_a_worker(
    artifacts: Path, models: Path, tmp_path: Path
) -> None:
    path = models / "two-int8.tflite"
    executor = LiteRTExecutor(path)
    names = [detail["name"] for detail in executor.input_details]
    inputs = [examples(path, 1 + number % 3, seed=number) for number in range(8)]
    inputs[3][1][0, 0] = 1_000_000  # a token that the embedding does not have
    options = {"max_batch_delay_milliseconds": 500, "max_batch_size": 64}
    with worker(artifacts / "two-int8", tmp_path, **options) as running:

        def ask(arrays: list[Any]) -> httpx.Response:
            body = {"inputs": [tensor(name, array) for name, array in zip(names, arrays, strict=True)]}
            return httpx.post(f"{running.url}/v2/models/digits/infer", json=body, timeout=60)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, inputs))
        assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 200, 200, 200, 200]
        for arrays, answer in zip(inputs, answers, strict=True):
            if answer.status_code == 200:
                found = [output(answer, place) for place in range(2)]
                assert equal(found, executor.run(arrays))
