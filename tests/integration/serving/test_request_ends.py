"""Where one request ends and the next begins: what is in a body is never taken for a request.

Streams of requests get the same answers wherever they are cut.
"""

import asyncio
import gc
import json
import random
import re
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.support.serving.http_server import (
    FLOAT,
    MAX_BODY,
    OIP,
    PREDICT,
    ROW,
    ServerFixture,
    post,
    raw_request,
    serve,
    until,
)

KNOWN = post(PREDICT, ROW)
STREAMS = 100


def page(body: bytes, chunked: bool = False) -> bytes:
    """Return a request for a page that has a body."""
    start = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
    if chunked:
        return start + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return start + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("chunked", [False, True])
def test_a_known_request_in_the_body_of_one_for_a_page_is_a_body(chunked: bool) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(KNOWN)
        assert await peer.answer()
        outer = page(KNOWN, chunked)
        cut = outer.index(KNOWN)
        await peer.send(outer[:cut], outer[cut : cut + len(KNOWN)], outer[cut + len(KNOWN) :], KNOWN)
        assert (await peer.answer())[1] == b'{"live":true}'
        assert (await peer.answer())[1] == b'{"predictions":[[2.0]]}'  # the request behind it
        assert server.answered(200) == 2
        assert server.executor.rows == 2

    serve(test)


def test_no_head_is_learnt_from_a_body() -> None:
    tail = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: ".encode()
    whole = tail + post(OIP, b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}')

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(page(tail)[: -len(tail)], whole)
        assert (await peer.answer())[1] == b'{"live":true}'
        assert b'"outputs"' in (await peer.answer())[1]  # what follows the page's body is a request
        peer = await connect()
        await peer.send(whole)
        assert (await peer.answer())[0].startswith(
            b"HTTP/1.1 400"
        )  # predict, with a body of the other protocol
        assert await peer.ended()

    serve(test)


@pytest.mark.parametrize(("length", "code"), [(MAX_BODY + 1, b"413"), (10, b"408")])
def test_bodies_of_pages_have_the_limits_of_others(length: int, code: bytes) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        head = f"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        await peer.send(head.encode())
        server.later(1)
        head, _ = await peer.answer()
        assert head.startswith(b"HTTP/1.1 " + code)
        assert b"connection: close" in head

    serve(test, timeout=0.3)


def test_chunks_of_a_page_s_body_are_counted() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(page(b"x" * (MAX_BODY + 1), chunked=True)[:-7])
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 413")

    serve(test)


def test_a_refused_request_is_over_with_its_answer() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(
            f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n".encode()
        )
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 413")
        await until(lambda: server.service.in_flight == 0)
        assert len(server.connections) == 1  # its sender may go on for a while

    serve(test)


def test_a_connection_outlives_a_whole_body_that_is_refused() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(post(PREDICT, b"abc", "Content-Encoding: gzip\r\n"))
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 400")
        await peer.send(KNOWN)
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 200")

    serve(test)


@pytest.mark.parametrize("hosts", ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host: a/b\r\n"])
def test_a_request_names_one_host(hosts: str) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(f"GET /v2/health/live HTTP/1.1\r\n{hosts}\r\n".encode())
        head, body = await peer.answer()
        assert head.startswith(b"HTTP/1.1 400")
        assert "one Host header" in json.loads(body)["error"]
        peer = await connect()
        await peer.send(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 200")

    serve(test)


@pytest.mark.parametrize("request_line", [b"GET /v2 HTTP/1.1\r\n\r\n", b"no HTTP\r\n\r\n"])
def test_nothing_is_kept_of_a_refused_connection(request_line: bytes) -> None:
    """The garbage collector comes late where little is allocated: nothing is left to it."""

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await until(lambda: bool(server.connections))
        (kept,) = map(weakref.ref, server.connections)
        await peer.send(request_line)
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 400")
        gc.disable()
        try:
            peer.writer.close()
            await until(lambda: not server.connections)
            await until(lambda: kept() is None)
        finally:
            gc.enable()

    serve(test)


@pytest.mark.parametrize("host", ["", "a", "a:80 \t", "[::1]:80", "10.0.0.1", "[fe80::1%25eth0]:8080"])
def test_hosts_of_all_kinds_are_taken(host: str) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(f"GET /v2/health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 200")

    serve(test, host="0.0.0.0")


def stream(dice: random.Random) -> list[bytes]:
    """Return some requests, in the pieces in which they are sent."""
    long = json.dumps({"instances": [[1.25] * 20_000]}).encode()
    kinds = [
        KNOWN,
        post(OIP, b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}'),
        raw_request(OIP, np.ones((dice.choice([1, 30_000]), 1), FLOAT)),
        post(PREDICT, b'{"instances": [[1], 2]}'),
        post(PREDICT, long, dice.choice(["", "Accept-Encoding: gzip\r\n"])),
        b"\r\n" + KNOWN,
        b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        *(page(body, chunked) for body in (KNOWN, b"x" * 50, long) for chunked in (False, True)),
    ]
    data = b"".join(dice.choices(kinds, k=dice.randint(1, 5)))
    data += b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    starts = [found.start() for found in re.finditer(rb"POST |GET ", data)]
    ends = [found.end() for found in re.finditer(rb"\r\n\r\n", data)]
    places = dice.choice([starts, starts + ends, [dice.randrange(len(data)) for _ in range(4)], []])
    cuts = [0, *sorted(set(places) - {0}), len(data)]
    return [data[start:stop] for start, stop in pairwise(cuts)]


@pytest.mark.parametrize("part", range(4))
def test_streams_are_answered_alike_wherever_they_are_cut(part: int) -> None:
    async def answers(connect: Any, pieces: list[bytes]) -> bytes:
        peer = await connect()
        await peer.send(*pieces)
        text: bytes = await asyncio.wait_for(peer.reader.read(), 30)
        peer.writer.close()
        return re.sub(rb"date: [^\r]*\r\n", b"", text)

    async def test(server: ServerFixture, connect: Any) -> None:
        for number in range(STREAMS // 4):
            pieces = stream(random.Random(f"{part}-{number}"))
            whole = await answers(connect, [b"".join(pieces)])
            assert await answers(connect, pieces) == whole, (number, pieces)

    serve(test)
