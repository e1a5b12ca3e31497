"""Connections of a real server on real sockets, with limits small enough to reach."""

import asyncio
from typing import Any

import pytest

from modelpress.serving.http.connections import ConnectionLimits, State
from tests.support.serving.http_server import MAX_BODY, PREDICT, ROW, Peer, ServerFixture, post, serve, until

GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIVE = (200, b'{"live":true}')
LATER = post(PREDICT, ROW)  # is answered when the device is open
DONE = (200, b'{"predictions":[[2.0]]}')
CHUNKED = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
LIMITS = ConnectionLimits(connections=16, head_bytes=1000, headers=20, pipelined=8)
TOO_MUCH = (431, "the head has more than 20 headers or 1000 bytes")
NOT_HTTP = (400, "the request is not valid HTTP")


def test_a_head_that_does_not_end_in_time_is_408() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect(GET[:-4])
        server.later(LIMITS.head_seconds - 1)
        await peer.send(b"\r\nX: y")  # more bytes give no more time
        assert server.connections[0].state is State.HEAD
        server.later(LIMITS.head_seconds + 1)
        assert await peer.error() == (408, "the head of the request did not arrive within 20 seconds")
        assert await peer.ended()

    serve(test, limits=LIMITS)


def test_connections_without_a_request_are_closed_in_time() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        fresh, idle = await connect(), await connect(GET)
        assert await idle.status() == LIVE
        server.later(LIMITS.head_seconds + 1)
        assert await fresh.ended()
        await idle.send(GET)  # the time between requests is another one
        assert await idle.status() == LIVE
        server.later(LIMITS.idle_seconds + 1)
        assert await idle.ended()

    serve(test, limits=LIMITS)


def test_an_answer_may_take_longer_than_a_head() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        peer = await connect(LATER)
        server.later(1000)
        server.device.open()
        assert await peer.status() == DONE

    serve(test, limits=LIMITS)


def test_too_large_heads_are_431() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        start = GET[:-2]
        for head in (
            start + b"X: y\r\n" * 20 + b"\r\n",
            start + b"X: " + b"y" * 1000 + b"\r\n\r\n",
            b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\n\r\n",
        ):
            peer = await connect(head)
            assert await peer.error() == TOO_MUCH
            assert await peer.ended()
        for piece in (b"X: y\r\n", b"Y"):  # heads that never end
            peer = await connect(start)
            for _ in range(12):
                await peer.send(piece * 99)
            assert await peer.error() == TOO_MUCH
        peer = await connect(start + b"X: " + b"y" * 600)
        await peer.send(b"y" * 600 + b"\r\n\r\n")  # neither part is too large
        assert await peer.error() == TOO_MUCH
        peer = await connect(start + b"X: y\r\n" * 19 + b"\r\n")
        assert await peer.status() == LIVE

    serve(test, limits=LIMITS)


def test_a_large_body_in_one_piece_with_its_head_is_no_large_head() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        for _ in range(3):
            await peer.send(post(PREDICT, b" " * 50_000 + ROW))
            assert await peer.status() == DONE

    serve(test, limits=LIMITS)


def test_trailers_without_end_are_refused() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        for piece in (b"X: y\r\n" * 10, b"Y" * 100):
            peer = await connect(CHUNKED + b"2\r\nab\r\n0\r\n")
            for _ in range(20):
                await peer.send(piece)
            assert await peer.error() == TOO_MUCH
        assert server.answered(431) == 2

    serve(test, limits=LIMITS)


def test_a_body_of_single_byte_chunks_with_a_trailer_is_taken() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect(CHUNKED)
        for byte in b"1\r\n \r\n" * 300 + b"%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(ROW), ROW):
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await peer.status() == DONE

    serve(test, limits=LIMITS)


@pytest.mark.parametrize("complete", [0, 1, 3])
@pytest.mark.parametrize("broken", [b"\x00\xff\r\n\r\n", CHUNKED + b"zz\r\n"])
def test_what_is_not_http_is_400_after_the_answers_to_what_was(complete: int, broken: bytes) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        peer = await connect(LATER * complete + broken)
        server.device.open()
        for _ in range(complete):
            assert await peer.status() == DONE
        assert await peer.error() == NOT_HTTP
        assert await peer.ended()

    serve(test, limits=LIMITS)


def test_too_many_pipelined_requests_are_429_after_the_answers_to_those_taken() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        peer = await connect(LATER * 20)
        server.device.open()
        for _ in range(1 + LIMITS.pipelined):
            assert await peer.status() == DONE
        assert await peer.error() == (429, "more than 8 requests wait on one connection")

    serve(test, limits=LIMITS)


def test_pages_that_are_pipelined_in_any_number_are_answered() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        peer.writer.write(GET * 2000)
        for _ in range(2000):
            assert await peer.status() == LIVE

    serve(test, limits=LIMITS)


@pytest.mark.parametrize("data", [LATER, LATER * 3, CHUNKED, LATER + CHUNKED])
def test_callers_that_leave_cause_no_error(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        peer = await connect(data)
        peer.writer.transport.abort()
        await asyncio.sleep(0.02)
        server.device.open()
        await until(lambda: not server.connections)

    serve(test, limits=LIMITS)
    assert caplog.text == ""


def test_nobody_is_asked_to_continue_a_body_that_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect(CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\nzz\r\n")
        assert await peer.error() == NOT_HTTP
        assert await peer.ended()
        too_large = f"Content-Length: {MAX_BODY + 1}\r\nExpect: 100-continue\r\n\r\n"
        peer = await connect(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n{too_large}".encode())
        assert (await peer.error())[0] == 413

    serve(test, limits=LIMITS)
    assert caplog.text == ""


def test_who_waits_behind_another_request_is_asked_to_continue_in_turn() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        peer = await connect(LATER + post(PREDICT, ROW, "Expect: 100-continue\r\n")[: -len(ROW)])
        server.device.open()
        assert await peer.status() == DONE
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(ROW)
        assert await peer.status() == DONE

    serve(test, limits=LIMITS)


def test_new_callers_take_the_place_of_slow_and_idle_connections() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        busy = await connect(LATER)
        idle = await connect(GET)
        assert await idle.status() == LIVE
        slow = [await connect(GET[:-4]) for _ in range(LIMITS.connections - 2)]
        callers = []
        for oldest in slow:
            callers.append(await connect(LATER))
            assert await oldest.ended()
        callers.append(await connect(LATER))
        assert await idle.ended()  # idle ones after those
        refused = await connect()  # all others are owed an answer
        assert await refused.error() == (503, "too many connections; try again later")
        assert len(server.connections) <= LIMITS.connections + 1
        server.device.open()
        for peer in (busy, *callers):
            assert await peer.status() == DONE

    serve(test, limits=LIMITS)


def test_a_peer_that_does_not_read_is_cut_off() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        (connection,) = server.connections
        connection.transport.pause_reading()
        connection.transport.write(b"x" * 50_000_000)  # more than the buffers of both kernels' ends
        peer.writer.transport.pause_reading()
        await asyncio.sleep(0.2)
        connection.state = State.BUSY
        loop = asyncio.get_running_loop()
        connection.check(loop.time())
        connection.check(loop.time() + LIMITS.unread_seconds - 1)
        assert server.connections == [connection]
        connection.check(loop.time() + LIMITS.unread_seconds + 1)
        await until(lambda: server.connections == [])

    serve(test, limits=LIMITS)


def test_one_connection_that_cannot_be_checked_leaves_the_limits_of_the_others() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        broken, slow = await connect(GET[:-4]), await connect(GET[:-4])
        server.connections[0].check = None
        server.later(LIMITS.head_seconds + 1)
        answers = [await read_all(peer) for peer in (broken, slow)]
        assert sorted(b"408" in answer for answer in answers) == [False, True]

    serve(test, limits=LIMITS)


async def read_all(peer: Peer) -> bytes:
    try:
        return await asyncio.wait_for(peer.reader.read(), 20)
    except ConnectionResetError:
        return b""
