"""Connections of a real uvicorn server on real sockets, with limits small enough to reach."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pytest
import uvicorn

from modelpress.serving.connection import Connection, ConnectionLimits, State, sweep

GET = b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
LATER = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMITS = ConnectionLimits(connections=16, head_bytes=1000, headers=20, pipelined=8)


class Limited(Connection):
    limits: ClassVar[ConnectionLimits] = LIMITS


class Site:
    """A server with three pages: /now, /later (answers when `gate` opens) and /body (the body's length)."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.paths: list[str] = []
        self.left = 0
        self.port = 0
        self.server = uvicorn.Server(
            uvicorn.Config(self, http=Limited, ws="none", lifespan="off", log_config=None, port=0)
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        size = 0
        if scope["path"] == "/later":
            await self.gate.wait()
        if scope["path"] == "/body":
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.left += 1
                    return
                size += len(message["body"])
                if not message["more_body"]:
                    break
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @property
    def connections(self) -> list[Any]:
        return list(self.server.server_state.connections)

    def later(self, seconds: float) -> None:
        """Let the limits of time see the clock that much later."""
        sweep(self.connections, asyncio.get_running_loop().time() + seconds)

    async def connect(self, data: bytes = b"") -> "Peer":
        before = len(self.connections)
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        while len(self.connections) <= before < LIMITS.connections:
            await asyncio.sleep(0.001)
        if data:
            await peer.send(data)
        return peer


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0.02)

    async def answer(self) -> tuple[int, bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await self.reader.readexactly(length)

    async def error(self) -> tuple[int, str]:
        status, body = await self.answer()
        return status, json.loads(body)["error"]

    async def ended(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(1), 20) == b""
        except ConnectionResetError:
            return True


def serve(test: Callable[[Site], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        site = Site()
        serving = asyncio.create_task(site.server.serve())
        while not site.server.started:
            await asyncio.sleep(0.005)
        site.port = site.server.servers[0].sockets[0].getsockname()[1]
        try:
            await asyncio.wait_for(test(site), 30)
        finally:
            site.gate.set()
            for connection in site.connections:
                connection.transport.abort()
            site.server.should_exit = True
            await serving

    asyncio.run(run())


def test_a_head_that_does_not_end_in_time_is_408() -> None:
    async def test(site: Site) -> None:
        peer = await site.connect(GET[:-4])
        site.later(LIMITS.head_seconds - 1)
        await peer.send(b"\r\nX: y")  # more bytes give no more time
        assert site.connections[0].state is State.HEAD
        site.later(LIMITS.head_seconds + 1)
        assert await peer.error() == (408, "the head of the request did not arrive within 20 seconds")
        assert await peer.ended()

    serve(test)


def test_connections_without_a_request_are_closed_in_time() -> None:
    async def test(site: Site) -> None:
        fresh, idle = await site.connect(), await site.connect(GET)
        assert await idle.answer() == (200, b"0")
        site.later(LIMITS.head_seconds + 1)
        assert await fresh.ended()
        await idle.send(GET)  # the time between requests is another one
        assert await idle.answer() == (200, b"0")
        site.later(LIMITS.idle_seconds + 1)
        assert await idle.ended()

    serve(test)


def test_an_answer_may_take_longer_than_a_head() -> None:
    async def test(site: Site) -> None:
        peer = await site.connect(LATER)
        site.later(1000)
        site.gate.set()
        assert await peer.answer() == (200, b"0")

    serve(test)


def test_too_large_heads_are_431() -> None:
    async def test(site: Site) -> None:
        start = GET[:-2]
        for head in (
            start + b"X: y\r\n" * 20 + b"\r\n",
            start + b"X: " + b"y" * 1000 + b"\r\n\r\n",
            b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\n\r\n",
        ):
            peer = await site.connect(head)
            assert await peer.error() == (431, "the head has more than 20 headers or 1000 bytes")
            assert await peer.ended()
        for piece in (b"X: y\r\n", b"Y"):  # heads that never end
            peer = await site.connect(start)
            for _ in range(12):
                await peer.send(piece * 99)
            assert await peer.error() == (431, "the head has more than 20 headers or 1000 bytes")
        peer = await site.connect(start + b"X: " + b"y" * 600)
        await peer.send(b"y" * 600 + b"\r\n\r\n")  # neither part is too large
        assert (await peer.error())[0] == 431
        assert site.paths == []
        peer = await site.connect(start + b"X: y\r\n" * 19 + b"\r\n")
        assert await peer.answer() == (200, b"0")

    serve(test)


def test_a_large_body_in_one_piece_with_its_head_is_no_large_head() -> None:
    async def test(site: Site) -> None:
        peer = await site.connect()
        for _ in range(3):
            await peer.send(
                b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
            )
            assert await peer.answer() == (200, b"50000")

    serve(test)


def test_trailers_without_end_are_refused_and_the_application_sees_the_caller_leave() -> None:
    async def test(site: Site) -> None:
        for piece in (b"X: y\r\n" * 10, b"Y" * 100):
            peer = await site.connect(CHUNKED + b"2\r\nab\r\n0\r\n")
            for _ in range(20):
                await peer.send(piece)
            assert (await peer.error())[0] == 431
        assert site.left == 2

    serve(test)


def test_a_body_of_single_byte_chunks_with_a_trailer_is_taken() -> None:
    async def test(site: Site) -> None:
        peer = await site.connect(CHUNKED)
        for byte in b"1\r\na\r\n" * 300 + b"0\r\nX: y\r\n\r\n":
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await peer.answer() == (200, b"300")

    serve(test)


def test_what_is_not_http_is_400_after_the_answers_to_what_was() -> None:
    async def test(site: Site) -> None:
        for complete in (0, 1, 3):
            site.gate.clear()
            peer = await site.connect(LATER * complete + b"\x00\xff\r\n\r\n")
            site.gate.set()
            for _ in range(complete):
                assert await peer.answer() == (200, b"0")
            assert await peer.error() == (400, "the request is not valid HTTP")
            assert await peer.ended()

    serve(test)


def test_a_body_that_breaks_off_is_400_after_the_answers_to_earlier_requests() -> None:
    async def test(site: Site) -> None:
        for complete in (0, 2):
            site.gate.clear()
            peer = await site.connect(LATER * complete + CHUNKED + b"zz\r\n")
            site.gate.set()
            for _ in range(complete):
                assert await peer.answer() == (200, b"0")
            assert await peer.error() == (400, "the request is not valid HTTP")
            assert await peer.ended()
        assert site.left == 1  # the one that had no earlier request was started

    serve(test)


def test_too_many_pipelined_requests_are_429_after_the_answers_to_those_taken() -> None:
    async def test(site: Site) -> None:
        peer = await site.connect(LATER * 20)
        site.gate.set()
        for _ in range(1 + LIMITS.pipelined):
            assert await peer.answer() == (200, b"0")
        assert await peer.error() == (429, "more than 8 requests wait on one connection")

    serve(test)


def test_an_upgrade_is_ignored_and_ends_the_connection() -> None:
    async def test(site: Site) -> None:
        upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        peer = await site.connect(GET[:-2] + upgrade + b"\r\n" + GET)
        assert await peer.answer() == (200, b"0")
        assert await peer.ended()
        post = b"POST /body HTTP/1.1\r\nContent-Length: 3\r\n" + upgrade + b"\r\nabc"
        refused = await (await site.connect(post)).error()
        assert refused == (400, "upgrades of requests with a body are not supported")

    serve(test)


def test_callers_that_leave_cause_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def test(site: Site) -> None:
        for data in (LATER, LATER * 3, CHUNKED, LATER + CHUNKED):
            peer = await site.connect(data)
            peer.writer.transport.abort()
            await asyncio.sleep(0.02)
            site.gate.set()
            while site.connections or site.server.server_state.tasks:
                await asyncio.sleep(0.005)
            site.gate.clear()
        assert site.left >= 1

    serve(test)
    assert caplog.text == ""


def test_nobody_is_asked_to_continue_a_body_that_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def test(site: Site) -> None:
        peer = await site.connect(CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\nzz\r\n")
        assert await peer.error() == (400, "the request is not valid HTTP")
        assert await peer.ended()
        while site.server.server_state.tasks:
            await asyncio.sleep(0.005)
        assert site.left == 1

    serve(test)
    assert caplog.text == ""


def test_new_callers_take_the_place_of_slow_and_idle_connections() -> None:
    async def test(site: Site) -> None:
        busy = await site.connect(LATER)
        idle = await site.connect(GET)
        assert await idle.answer() == (200, b"0")
        slow = [await site.connect(GET[:-4]) for _ in range(LIMITS.connections - 2)]
        callers = []
        for oldest in slow:
            callers.append(await site.connect(LATER))
            assert await oldest.ended()
        callers.append(await site.connect(LATER))
        assert await idle.ended()  # idle ones after those
        refused = await site.connect()  # all others are owed an answer
        assert await refused.error() == (503, "too many connections; try again later")
        assert len(site.connections) <= LIMITS.connections + 1
        site.gate.set()
        for peer in (busy, *callers):
            assert await peer.answer() == (200, b"0")

    serve(test)


def test_a_peer_that_does_not_read_is_cut_off() -> None:
    async def test(site: Site) -> None:
        peer = await site.connect()
        (connection,) = site.connections
        connection.transport.pause_reading()
        connection.transport.write(b"x" * 50_000_000)  # more than the buffers of both kernels' ends
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.2)
        connection.state = State.BUSY
        loop = asyncio.get_running_loop()
        connection.check(loop.time())
        connection.check(loop.time() + LIMITS.unread_seconds - 1)
        assert site.connections == [connection]
        connection.check(loop.time() + LIMITS.unread_seconds + 1)
        await asyncio.sleep(0.05)
        assert site.connections == []

    serve(test)


def test_one_connection_that_cannot_be_checked_leaves_the_limits_of_the_others() -> None:
    async def test(site: Site) -> None:
        broken, slow = await site.connect(GET[:-4]), await site.connect(GET[:-4])
        first = site.connections[0]
        first.check = None
        site.later(LIMITS.head_seconds + 1)
        answers = [await read_all(peer) for peer in (broken, slow)]
        assert sorted(b"408" in answer for answer in answers) == [False, True]

    serve(test)


async def read_all(peer: Peer) -> bytes:
    try:
        return await asyncio.wait_for(peer.reader.read(), 20)
    except ConnectionResetError:
        return b""
