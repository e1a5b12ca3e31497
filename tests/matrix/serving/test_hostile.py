"""Mutated requests and slow connections against a real worker process, while others are served."""

import asyncio
import json
import re
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import httpx

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.serving.artifacts import Worker
from tests.support.serving.flood import ask, assert_others_served, flood, slow_send
from tests.support.serving.mutations import hostile, oip
from tests.support.serving.oip_requests import images, output, request

COUNT = 10_000
SLOW = 200
ALLOWED = {503, 504}


def statuses(data: bytes) -> list[int]:
    """Return the codes of all answers in what a connection sent; whatever else is there is an error."""
    found = []
    while data:
        match = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", data)
        assert match, data[:200]
        head, _, rest = data.partition(b"\r\n\r\n")
        found.append(int(match[1]))
        if found[-1] == 100:
            data = rest
            continue
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        assert length, head
        data = rest[int(length[1]) :]
    return found


async def slow_connection(host: str, port: int, number: int, stop: asyncio.Event) -> None:
    """Send a request byte by byte: the head, the body, or nothing at all after connecting."""
    body = json.dumps(oip()).encode()
    head = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
    data = [head, head + b"\r\n" + body, b""][number % 3]
    first = len(head) + 2 if number % 3 == 1 else 0
    await slow_send((host, port), data, first, stop)


async def mutated(url: str, numbers: range) -> Counter[int]:
    """Send the mutated requests, beside slow connections; returns how often each code came."""
    host, _, text = url.removeprefix("http://").partition(":")
    port, codes = int(text), Counter[int]()

    async def send(number: int) -> None:
        data = await ask(host, port, hostile(number))
        try:
            found = [] if b"HEAD" in hostile(number)[:5] else statuses(data)
        except AssertionError as error:
            raise AssertionError(f"request {number}") from error
        assert not [code for code in found if code >= 500 and code not in ALLOWED], f"request {number}"
        codes.update(found)

    await flood(numbers, send, [partial(slow_connection, host, port, number) for number in range(SLOW)])
    return codes


def test_mutated_requests_and_slow_connections_harm_nobody(flooded: Worker, models: Path) -> None:
    reference = LiteRTExecutor(models / "seed-int8.tflite")
    array = images(3)
    expected = reference.run([array])[0].tobytes()

    def others(stop: threading.Event) -> int:
        count = 0
        with httpx.Client(base_url=flooded.url, timeout=30) as kept:
            while not stop.is_set():
                client = kept if count % 2 else httpx  # kept and new connections in turn
                base = "" if count % 2 else flooded.url
                answer = client.post(f"{base}/v2/models/digits/infer", json=request(array))
                assert output(answer).tobytes() == expected
                count += 1
        return count

    codes = assert_others_served(flooded, COUNT, partial(mutated, flooded.url), others)
    assert {200, 400, 404, 431} <= set(codes)
    assert flooded.metric("modelpress_in_flight") == 0
    assert flooded.metric("modelpress_queue_rows") == 0
