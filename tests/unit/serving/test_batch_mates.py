"""Requests that share a batch in a real worker process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.unit.serving.artifacts import equal, examples, worker
from tests.unit.serving.oip_requests import output, tensor


def test_a_request_that_the_model_refuses_fails_alone(artifacts: Path, models: Path, tmp_path: Path) -> None:
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
