"""A real worker process under load: bodies, deadlines, full queues, callers that leave, SIGTERM."""

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from modelpress.artifacts.manifest import MANIFEST_FILE
from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.serving.artifacts import Worker, examples, start, wait_ready, worker
from tests.support.serving.oip_requests import images, output, request, tensor


def test_a_chunked_body_above_the_limit_is_refused_before_its_end(digits: Worker) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(10_000):
            sent += 2**16
            yield b" " * 2**16
            time.sleep(0.001)

    with contextlib.suppress(
        httpx.WriteError
    ):  # the answer can arrive before the connection is cut, or after
        answer = digits.client.post("/v2/models/digits/infer", content=endless())
        assert answer.status_code == 413
    assert sent < 10_000 * 2**16
    assert digits.infer(request(images(1))).status_code == 200


def test_a_body_that_arrives_byte_by_byte_is_answered_and_holds_up_nobody(
    digits: Worker, reference: LiteRTExecutor
) -> None:
    array = images(1)
    body = json.dumps(request(array)).encode()
    host, port = digits.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow.sendall(
            b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for byte in body:
            slow.sendall(b"1\r\n%c\r\n" % byte)
        assert digits.infer(request(array)).status_code == 200
        slow.sendall(b"0\r\n\r\n")
        answer = b""
        while b"]}]}" not in answer:
            answer += slow.recv(65536)
    data = json.loads(answer.partition(b"\r\n\r\n")[2])["outputs"][0]["data"]
    assert np.array(data, "float32").tobytes() == reference.run([array])[0].tobytes()


def test_a_sender_that_stops_is_told_so_and_cut_off(artifacts: Path, tmp_path: Path) -> None:
    with worker(artifacts / "seed-int8", tmp_path, request_timeout_seconds=1) as running:
        host, port = running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(
                b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
            )
            answer = b""
            while chunk := slow.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body did not arrive within 1 seconds" in answer


def test_liveness_is_answered_while_the_model_is_loaded(artifacts: Path, tmp_path: Path) -> None:
    """The kubelet asks for it from the start: there is no startup probe."""
    manifest = (artifacts / "seed-int8" / MANIFEST_FILE).read_bytes()
    folder = held_back(artifacts, tmp_path)
    process, url, _, log = start(folder, tmp_path)
    with httpx.Client(base_url=url) as client:
        wait_ready(client, process, log, "/v2/health/live")
        for _ in range(20):
            assert client.get("/v2/health/live").status_code == 200
            assert client.get("/v2/health/ready").status_code == 503
        (folder / MANIFEST_FILE).write_bytes(manifest)
        wait_ready(client, process, log)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def held_back(artifacts: Path, tmp_path: Path) -> Path:
    """Return an artifact whose load waits for as long as nobody writes its manifest."""
    folder = tmp_path / "artifact"
    shutil.copytree(artifacts / "seed-int8", folder)
    (folder / MANIFEST_FILE).unlink()
    os.mkfifo(folder / MANIFEST_FILE)
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_loading_ends_at_once(
    artifacts: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process, url, termination, log = start(held_back(artifacts, tmp_path), tmp_path)
    try:
        with httpx.Client(base_url=url) as client:  # its kept connection must not hold the worker
            wait_ready(client, process, log, "/v2/health/live")
            process.send_signal(number)
            assert process.wait(30) == 0
    finally:
        process.kill()
    assert f"Draining after {number.name}." in log.read_text()
    assert not termination.exists()


def test_a_deadline_is_504(artifacts: Path, tmp_path: Path) -> None:
    options = {"request_timeout_seconds": 1, "max_batch_delay_milliseconds": 20_000}
    with worker(artifacts / "seed-int8", tmp_path, **options) as running:
        answer = running.infer(request(images(1)))
        assert answer.status_code == 504
        assert answer.json() == {"error": "no answer within 1 seconds"}


def test_a_full_queue_is_429_and_what_was_taken_is_answered(
    artifacts: Path, models: Path, tmp_path: Path
) -> None:
    array = examples(models / "slow-float32.tflite", 1)[0].repeat(256, axis=0)
    body = json.dumps({"instances": array.round(1).tolist()}).encode()
    with worker(artifacts / "slow-float32", tmp_path, max_batch_size=1, max_request_bytes=2**22) as running:

        def ask(_: int) -> httpx.Response:
            return httpx.post(f"{running.url}/v1/models/digits:predict", content=body, timeout=60)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(12)))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
        predictions = {answer.text for answer in answers if answer.status_code == 200}
        assert len(predictions) == 1
        assert running.metric("modelpress_queue_rows") == 0


def test_work_of_a_caller_that_left_is_dropped(artifacts: Path, tmp_path: Path) -> None:
    with worker(artifacts / "seed-int8", tmp_path, max_batch_delay_milliseconds=3000) as running:
        with pytest.raises(httpx.ReadTimeout):
            running.client.post(
                "/v2/models/digits/infer", json=request(images(5)), timeout=httpx.Timeout(5, read=0.2)
            )
        assert running.infer(request(images(2))).status_code == 200
        assert running.metric("modelpress_batch_rows_sum") == 2
        codes = [line for line in running.client.get("/metrics").text.splitlines() if 'code="499"' in line]
        assert codes


def test_concurrent_requests_share_batches_and_each_gets_its_own_rows(
    artifacts: Path, models: Path, tmp_path: Path
) -> None:
    reference = LiteRTExecutor(models / "slow-int8.tflite")
    arrays = [examples(models / "slow-int8.tflite", 1 + number % 5, seed=number)[0] for number in range(24)]
    with worker(artifacts / "slow-int8", tmp_path, max_batch_delay_milliseconds=50) as running:

        def ask(array: Any) -> Any:
            body = {"inputs": [tensor("features", array)]}
            answer = httpx.post(f"{running.url}/v2/models/digits/infer", json=body, timeout=60)
            return output(answer).tobytes()

        with ThreadPoolExecutor(24) as pool:
            for array, answer in zip(arrays, pool.map(ask, arrays), strict=True):
                assert answer == reference.run([array])[0].tobytes()
        assert running.metric("modelpress_batch_rows_count") < 24
        assert running.metric("modelpress_requests_total") == 24


def test_sigterm_under_load_loses_no_request(artifacts: Path, tmp_path: Path) -> None:
    process, url, _, log = start(artifacts / "slow-int8", tmp_path)
    body = json.dumps({"instances": np.zeros((4, 512)).tolist()}).encode()
    answers: list[int] = []
    lost: list[str] = []

    def hammer(keep_alive: bool) -> None:
        with httpx.Client(timeout=30) as client:
            post = client.post if keep_alive else httpx.post
            while True:
                try:
                    answers.append(post(f"{url}/v1/models/digits:predict", content=body).status_code)
                except httpx.ConnectError:  # nobody listens any more: never accepted
                    return
                except httpx.TransportError as error:
                    lost.append(repr(error))
                    return

    def answered(count: int) -> None:
        deadline = time.monotonic() + 60
        while len(answers) < count and not lost and time.monotonic() < deadline:
            time.sleep(0.01)

    with httpx.Client(base_url=url, timeout=30) as client:
        wait_ready(client, process, log)
        threads = [threading.Thread(target=hammer, args=(number % 2 == 0,)) for number in range(8)]
        for thread in threads:
            thread.start()
        answered(50)
        process.send_signal(signal.SIGTERM)
        while client.get("/v2/health/ready").status_code == 200:
            time.sleep(0.01)
        before = len(answers)
        assert client.get("/v2/health/live").headers["connection"] == "close"
        answered(before + 50)  # not ready, and still answering
        assert process.poll() is None
        for thread in threads:
            thread.join(60)
    assert process.wait(30) == 0
    assert not lost
    assert len(answers) >= before + 50
    assert set(answers) == {200}


def test_an_idle_worker_ends_soon_after_sigterm(artifacts: Path, tmp_path: Path) -> None:
    process, url, _, log = start(artifacts / "seed-int8", tmp_path)
    with httpx.Client(base_url=url) as client:  # its kept connection must not hold the worker
        wait_ready(client, process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
