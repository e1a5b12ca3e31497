"""SIGTERM: requests are taken for as long as promised, and what was accepted is answered."""

import asyncio
import contextlib
import errno
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.serving.artifacts import free_port, start, wait_ready
from tests.support.serving.grpc_client import Client, output, until
from tests.support.serving.oip_requests import images

KEPT, NEW, SLOW, IDLE = 24, 24, 12, 4


class Load:
    """Callers that go on until nobody listens; each answer must be the right one."""

    def __init__(self, url: str, body: bytes, expected: bytes) -> None:
        self.host, _, port = url.removeprefix("http://").partition(":")
        self.port = int(port)
        head = b"POST /v1/models/digits:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        self.request = head % len(body) + body
        self.expected = expected
        self.answers = 0
        self.lost: list[str] = []
        self.draining = asyncio.Event()

    async def caller(self, keep: bool) -> None:
        """Ask over and over; a connection is used until the worker ends it, or once."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            except (ConnectionRefusedError, ConnectionResetError):
                return  # nobody listens any more, or ended while the kernel connected: never accepted
            more = True
            while more:
                writer.write(self.request)
                more = await self.answer(reader) and keep
            writer.close()
            if self.lost:
                return

    async def slow(self) -> None:
        """Send half of the body before the signal and the rest after it."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        half = len(self.request) - 100
        writer.write(self.request[:half])
        await self.draining.wait()
        await asyncio.sleep(1.0)
        writer.write(self.request[half:])
        await self.answer(reader)
        writer.close()

    async def idle(self) -> None:
        """Keep a connection from before the signal, and use it again right after."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        for _ in range(2):
            writer.write(self.request)
            kept = await self.answer(reader)
            await self.draining.wait()
        assert not kept
        writer.close()

    async def answer(self, reader: asyncio.StreamReader) -> bool:
        """Read and check an answer; returns whether the connection is kept."""
        try:
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.lost.append(repr(error))
            return False
        if not head.startswith(b"http/1.1 200 ") or predictions(body) != self.expected:
            self.lost.append(repr(head + body))
        self.answers += 1
        return b"connection: close" not in head


def predictions(body: bytes) -> bytes:
    return np.array(json.loads(body)["predictions"], "float32").tobytes()


async def drain(load: Load, process: Any, url: str) -> None:
    callers = [load.caller(keep=True) for _ in range(KEPT)] + [load.caller(keep=False) for _ in range(NEW)]
    others = [load.slow() for _ in range(SLOW)] + [load.idle() for _ in range(IDLE)]
    tasks = [asyncio.create_task(coroutine) for coroutine in callers + others]
    while load.answers < 200 and not load.lost:
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        process.send_signal(signal.SIGTERM)
        while (await client.get("/v2/health/ready")).status_code == 200:
            await asyncio.sleep(0.005)
        before = load.answers
        load.draining.set()
    await asyncio.gather(*tasks)
    assert load.answers >= before + KEPT + NEW + SLOW  # not ready, and still answering


def test_sigterm_with_64_connections_loses_nothing(artifacts: Path, models: Path, tmp_path: Path) -> None:
    array = images(2)
    expected = LiteRTExecutor(models / "seed-int8.tflite").run([array])[0].tobytes()
    body = json.dumps({"instances": array.tolist()}).encode()
    process, url, _, log = start(artifacts / "seed-int8", tmp_path)
    with httpx.Client(base_url=url) as client:
        wait_ready(client, process, log)
    load = Load(url, body, expected)
    asyncio.run(drain(load, process, url))
    assert load.lost == []
    assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()


def refused(port: int) -> bool:
    """Whether nobody listens at a port."""
    with contextlib.suppress(ConnectionResetError), socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
    return False


def test_both_protocols_stop_listening_side_by_side_and_answer_what_they_took(
    artifacts: Path, models: Path, tmp_path: Path
) -> None:
    port = free_port()
    process, url, _, log = start(
        artifacts / "seed-int8", tmp_path, grpc_port=port, max_batch_delay_milliseconds=5000, drain_seconds=1
    )
    array = images(2)
    expected = LiteRTExecutor(models / "seed-int8.tflite").run([array])[0].tobytes()
    load = Load(url, json.dumps({"instances": array.tolist()}).encode(), expected)
    with httpx.Client(base_url=url) as http:
        wait_ready(http, process, log)

        def both_in_flight() -> bool:
            return "modelpress_in_flight 2.0" in http.get("/metrics").text.splitlines()

        with socket.create_connection((load.host, load.port)) as slow, ThreadPoolExecutor() as threads:
            slow.sendall(load.request[:-100])
            client = Client(f"127.0.0.1:{port}")
            call = threads.submit(client.infer, array)  # which waits for more rows
            until(both_in_flight)
            process.send_signal(signal.SIGTERM)
            # the HTTP request holds its front end, which must not hold the other
            until(lambda: refused(port) and refused(load.port))
            slow.sendall(load.request[-100:])
            received = bytearray()
            while piece := slow.recv(2**16):
                received += piece
            assert received.startswith(b"HTTP/1.1 200 ")
            assert predictions(bytes(received.partition(b"\r\n\r\n")[2])) == expected
            assert output(call.result()) == expected
            client.channel.close()
    assert process.wait(60) == 0


def test_requests_are_taken_until_the_end_of_the_drain_however_quiet_it_is(
    artifacts: Path, tmp_path: Path
) -> None:
    process, url, _, log = start(artifacts / "seed-int8", tmp_path, drain_seconds=3600)
    with httpx.Client(base_url=url) as client:
        wait_ready(client, process, log)
    process.send_signal(signal.SIGTERM)
    until(lambda: httpx.get(f"{url}/v2/health/ready").status_code == 503)
    time.sleep(3)  # without a request
    answer = httpx.post(f"{url}/v1/models/digits:predict", json={"instances": images(1).tolist()})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    process.send_signal(signal.SIGTERM)  # a second signal ends the wait
    assert process.wait(30) == 0
