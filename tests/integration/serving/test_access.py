"""The access log of a real worker process, and traces through it."""

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelpress.serving.observability.access_log import AccessLog, ClientInfo
from tests.support.serving.artifacts import Worker, worker
from tests.support.serving.oip_requests import images, request
from tests.support.serving.trace_context import PARENT, TRACE


@pytest.fixture(scope="module")
def logged(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("logged")
    with (
        (folder / "access").open("wb") as stream,
        worker(artifacts / "seed-int8", folder, stdout=stream, access_log=True) as running,
    ):
        while not any(line["status"] == 200 for line in new_lines(running, 0, 1)):
            time.sleep(0.01)  # probes that came while it loaded have lines, too
        yield running


def lines(running: Worker) -> list[dict[str, Any]]:
    text = (running.log.parent / "access").read_text()
    return [json.loads(line) for line in text.splitlines()]


def new_lines(running: Worker, before: int, count: int) -> list[dict[str, Any]]:
    """Return the lines after `before` once there are `count`: one is written a moment after its answer."""
    deadline = time.monotonic() + 20
    while len(found := lines(running)[before:]) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_every_request_is_one_line(logged: Worker) -> None:
    before = len(lines(logged))
    body = json.dumps(request(images(1), id="mine")).encode()
    path = "/v2/models/digits/infer"
    whole = logged.client.post(path, content=body)
    chunked = logged.client.post(path, content=iter([body]))
    logged.client.post("/v1/models/digits:predict", content=b"no", headers={"x-request-id": "theirs"})
    logged.client.get("/v2/nothing?secret=1")
    logged.client.request("POST", "/v2", content=b"x")
    found = new_lines(logged, before, 5)
    assert [(line["method"], line["path"], line["status"], line["protocol"]) for line in found] == [
        ("POST", path, 200, "oip-rest"),
        ("POST", path, 200, "oip-rest"),
        ("POST", "/v1/models/digits:predict", 400, "tfserving-rest"),
        ("GET", "/v2/nothing", 404, None),
        ("POST", "/v2", 405, None),
    ]
    assert [line["request_id"] for line in found] == ["mine", "mine", "theirs", None, None]
    assert [line["bytes"] for line in found[:2]] == [len(whole.content), len(chunked.content)]
    for line in found:
        assert line["client"] == "127.0.0.1"
        assert line["trace_id"] is None
        assert 0 <= line["milliseconds"] < 60_000
        assert line["time"].endswith("+00:00")
    assert not [line for line in logged.log.read_text().splitlines() if "theirs" in line]


def test_traces_are_passed_on_with_and_without_the_log(logged: Worker, digits: Worker) -> None:
    before = len(lines(logged))
    body = json.dumps(request(images(1))).encode()
    path = "/v2/models/digits/infer"
    headers = {"traceparent": PARENT, "tracestate": "a=1"}
    for running in (logged, digits):
        spans = set()
        for content in (body, iter([body]), b"no"):
            answer = running.client.post(path, content=content, headers=headers)
            version, trace, span, flags = answer.headers["traceparent"].split("-")
            assert (version, trace, flags, len(span)) == ("00", TRACE, "01", 16)
            assert answer.headers["tracestate"] == "a=1"
            spans.add(span)
        spans.add(running.client.get("/v2", headers=headers).headers["traceparent"].split("-")[2])
        assert len(spans) == 4
        for wrong in ({}, {"traceparent": PARENT.replace(TRACE, "0" * 32)}, {"tracestate": "a=1"}):
            for content in (body, iter([body])):
                answer = running.client.post(path, content=content, headers=wrong)
                assert answer.status_code == 200
                assert "traceparent" not in answer.headers
                assert "tracestate" not in answer.headers
    traced = [line for line in new_lines(logged, before, 10) if line["trace_id"]]
    assert {line["trace_id"] for line in traced} == {TRACE}
    assert len({line["span_id"] for line in traced}) == 4


def test_a_request_cannot_forge_a_line(logged: Worker) -> None:
    before = len(lines(logged))
    logged.client.get('/v2/%0a%22}{"a":1}', headers={"x-request-id": 'x"\\u000a}{'})
    (line,) = new_lines(logged, before, 1)
    assert line["path"] == '/v2/\n"}{"a":1}'


def test_a_request_cannot_reach_the_terminal_that_shows_the_log(logged: Worker) -> None:
    before = len(lines(logged))
    identity = b"\x9b2J\x85"
    logged.client.post("/v2/models/digits/infer", content=b"no", headers={b"x-request-id": identity})
    logged.client.get("/v2/%C2%9B2J%E2%80%AEx")
    found = new_lines(logged, before, 2)
    assert found[0]["request_id"] == identity.decode("latin-1")
    text = (logged.log.parent / "access").read_text()
    assert all(letter.isprintable() for letter in text if letter != "\n")


def test_an_id_of_any_length_is_cut_in_the_log(logged: Worker) -> None:
    before = len(lines(logged))
    body = json.dumps(request(images(1), id="x" * 10_000)).encode()
    for content in (body, iter([body])):
        answer = logged.client.post("/v2/models/digits/infer", content=content)
        assert answer.json()["id"] == "x" * 10_000
    assert [line["request_id"] for line in new_lines(logged, before, 2)] == ["x" * 256] * 2


def test_a_log_that_is_read_too_late_loses_lines_and_holds_up_nobody(artifacts: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stream:
        with worker(artifacts / "seed-int8", tmp_path, stdout=stream, access_log=True) as running:
            for _ in range(1000):
                assert running.client.get("/v2/health/live").status_code == 200
            os.set_blocking(reading, False)
            text = b""
            while (found := text.count(b"lines were lost")) == 0:  # said with the first line that fits again
                with contextlib.suppress(BlockingIOError):
                    text += os.read(reading, 2**20)
                assert running.client.get("/v2/health/live").status_code == 200
        assert running.process.returncode == 0
    os.close(reading)
    assert found == 1
    first = text.partition(b"lines were lost")[0]
    count = int(re.findall(rb"(\d+) $", first)[0])
    written = [json.loads(line) for line in first.splitlines()[:-1]]
    assert {line["path"] for line in written} == {"/v2/health/live", "/v2/health/ready"}
    assert len(written) + count >= 1000


class Held(io.BytesIO):
    """A stream that takes nothing before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()

    def write(self, data: Any) -> int:
        assert self.opened.wait(60)
        return super().write(data)


def test_the_end_says_what_was_lost_and_writes_what_waits() -> None:
    stream = Held()
    caller = ClientInfo("GET", "/", None, None, None)

    async def run() -> None:
        log = AccessLog(stream)
        for _ in range(1000):
            log.write(caller, None, 200, 0.0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        stream.opened.set()
        while log._waiting.qsize():
            await asyncio.sleep(0.01)
        log.write(caller, None, 499, 0.0)
        log.close()

    asyncio.run(run())
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    lost = [int(line["message"].removesuffix(" lines were lost")) for line in found if "message" in line]
    assert sum(lost) > 0
    assert sum(lost) + sum("status" in line for line in found) == 1001
    assert found[-1]["status"] == 499


def test_a_stream_that_another_process_made_non_blocking_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    log = AccessLog(io.FileIO(writing, "w"))

    async def write() -> None:
        for _ in range(2000):
            log.write(ClientInfo("GET", "/", None, None, None), None, 200, 0.0)

    asyncio.run(write())  # its lines are written together, far more than a pipe holds
    text = b""
    while text.count(b"\n") < 2000:
        text += os.read(reading, 2**20)
    log.close()
    os.close(reading)
    assert {json.loads(line)["status"] for line in text.splitlines()} == {200}


def test_nobody_reads_the_log(artifacts: Path, tmp_path: Path) -> None:
    """A worker whose log goes nowhere any more goes on answering."""
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait(20)
    with worker(artifacts / "seed-int8", tmp_path, stdout=reader.stdin, access_log=True) as running:
        for _ in range(5):
            assert running.infer(request(images(1))).status_code == 200
        assert "Traceback" not in running.log.read_text()
    reader.stdin = None
