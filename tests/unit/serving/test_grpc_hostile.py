"""Peers that break the rules of HTTP/2 or do harm within them: they get the RFC's code, others go on."""

import asyncio
import struct
from dataclasses import replace
from typing import Any

import hpack
import pytest

from modelpress.serving.protocols.grpc import frames
from modelpress.serving.protocols.grpc.frames import Code, Setting, frame
from modelpress.serving.protocols.grpc.limits import LIMITS
from modelpress.serving.protocols.grpc.outbox import Backlog
from tests.unit.serving.fast_site import until
from tests.unit.serving.grpc_site import (
    INFER,
    LIVE,
    SETTLED,
    Connect,
    Head,
    Site,
    body,
    call,
    head,
    message,
    opening,
    serve,
)
from tests.unit.serving.test_access import PARENT

PROTOCOL, SIZE, FLOW = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR
CALM, CLOSED, COMPRESSION = Code.ENHANCE_YOUR_CALM, Code.STREAM_CLOSED, Code.COMPRESSION_ERROR
WINDOW = struct.pack(">I", 1)


def block(fields: Head) -> bytes:
    return hpack.Encoder().encode(fields)


def setting(key: int, value: int) -> bytes:
    return frame(frames.SETTINGS, 0, 0, struct.pack(">HI", key, value))


def windows(size: int, stream: int = 0) -> bytes:
    return frame(frames.WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def continued(*parts: bytes, stream: int = 1) -> bytes:
    return opening(stream, b"", 0) + b"".join(frame(frames.CONTINUATION, 0, stream, part) for part in parts)


# What is sent after the preface, and the code of the GOAWAY that ends the connection.
CONNECTION: dict[str, tuple[bytes, Code]] = {
    "data for no stream": (frame(frames.DATA, 0, 0, b"x"), PROTOCOL),
    "data for an idle stream": (frame(frames.DATA, 0, 7, b"x"), PROTOCOL),
    "data of a stream of ours": (frame(frames.DATA, 0, 2, b"x"), PROTOCOL),
    "padding of everything": (
        opening(1) + frame(frames.DATA, frames.PADDED, 1, bytes((5,)) + bytes(4)),
        PROTOCOL,
    ),
    "padding without a length": (opening(1) + frame(frames.DATA, frames.PADDED, 1), SIZE),
    "a frame that is too large": (opening(1) + frame(frames.DATA, 0, 1, bytes(16_385)), SIZE),
    "an unknown frame that is too large": (frame(99, 0, 0, bytes(70_000)), SIZE),
    "headers for no stream": (opening(0), PROTOCOL),
    "headers for a stream of ours": (opening(2), PROTOCOL),
    "padded headers": (frame(frames.HEADERS, frames.PADDED | 4, 1, bytes((200,)) + b"x"), PROTOCOL),
    "headers without their priority": (frame(frames.HEADERS, frames.PRIORITIZED | 4, 1, b"xx"), SIZE),
    "headers that depend on themselves": (
        frame(frames.HEADERS, frames.PRIORITIZED | 4, 1, struct.pack(">IB", 1, 0) + block(head())),
        PROTOCOL,
    ),
    "headers for an earlier stream": (call(5) + opening(3), CLOSED),
    "hpack: no such index": (opening(1, b"\xff\xff\x03"), COMPRESSION),
    "hpack: index zero": (opening(1, b"\x80"), COMPRESSION),
    "hpack: cut": (opening(1, b"\x00\x05ab"), COMPRESSION),
    "hpack: endless integer": (opening(1, b"\xff" * 30), COMPRESSION),
    "hpack: Huffman padding": (opening(1, b"\x00\x81\x00\x81\x00"), COMPRESSION),
    "hpack: table too large": (opening(1, b"\x3f\xff\xff\x7f"), COMPRESSION),
    "hpack: size update after a field": (opening(1, b"\x82\x20"), COMPRESSION),
    "hpack: bomb": (opening(1, b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000 + b"\xbe" * 12_000), COMPRESSION),
    "continuation of nothing": (frame(frames.CONTINUATION, 4, 1, b"x"), PROTOCOL),
    "continuation of another stream": (continued(b"", stream=1) + frame(frames.CONTINUATION, 4, 3), PROTOCOL),
    "another frame inside a head": (continued() + frame(frames.PING, 0, 0, bytes(8)), PROTOCOL),
    "continuation flood": (continued(*[b""] * 100), CALM),
    "a head without end": (continued(*[bytes(1000)] * 20), CALM),
    "settings for a stream": (frame(frames.SETTINGS, 0, 1), PROTOCOL),
    "settings cut": (frame(frames.SETTINGS, 0, 0, bytes(5)), SIZE),
    "settings acknowledged with a payload": (frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), SIZE),
    "push 2": (setting(Setting.ENABLE_PUSH, 2), PROTOCOL),
    "window of 2^31": (setting(Setting.INITIAL_WINDOW_SIZE, 2**31), FLOW),
    "frames of 16383": (setting(Setting.MAX_FRAME_SIZE, 16_383), PROTOCOL),
    "frames of 2^24": (setting(Setting.MAX_FRAME_SIZE, 2**24), PROTOCOL),
    "push promise": (frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), PROTOCOL),
    "ping for a stream": (frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
    "ping cut": (frame(frames.PING, 0, 0, bytes(7)), SIZE),
    "goaway for a stream": (frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "goaway cut": (frame(frames.GOAWAY, 0, 0, bytes(7)), SIZE),
    "priority for no stream": (frame(frames.PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "reset of no stream": (frame(frames.RST_STREAM, 0, 0, WINDOW), PROTOCOL),
    "reset of an idle stream": (frame(frames.RST_STREAM, 0, 9, WINDOW), PROTOCOL),
    "reset cut": (opening(1) + frame(frames.RST_STREAM, 0, 1, b"xxx"), SIZE),
    "window cut": (frame(frames.WINDOW_UPDATE, 0, 0, b"xxx"), SIZE),
    "window of nothing": (windows(0), PROTOCOL),
    "window beyond 2^31": (windows(2**31 - 1), FLOW),
    "window of an idle stream": (windows(1, 9), PROTOCOL),
    "a stream's window beyond 2^31 by settings": (
        opening(1) + windows(2**31 - 70_000, 1) + setting(Setting.INITIAL_WINDOW_SIZE, 2**20),
        FLOW,
    ),
    "ping flood": (frame(frames.PING, 0, 0, bytes(8)) * 3000, CALM),
    "settings flood": (frames.settings({}) * 3000, CALM),
    "settings acknowledgement flood": (frame(frames.SETTINGS, frames.ACK, 0) * 3000, CALM),
    "priority flood": (frame(frames.PRIORITY, 0, 1, struct.pack(">IB", 3, 1)) * 3000, CALM),
    "empty data flood": (opening(1) + frame(frames.DATA, 0, 1) * 3000, CALM),
    "padding flood": (opening(1) + frame(frames.DATA, frames.PADDED, 1, bytes(10)) * 3000, CALM),
    "window flood": (opening(1) + windows(1, 1) * 3000, CALM),
    "unknown frames": (frame(77, 0, 0) * 3000, CALM),
    "goaway flood": (frame(frames.GOAWAY, 0, 0, bytes(8)) * 3000, CALM),
    "rapid reset": (
        b"".join(opening(n) + frames.rst_stream(n, Code.CANCEL) for n in range(1, 6001, 2)),
        CALM,
    ),
    "streams beyond the limit": (b"".join(opening(n) for n in range(1, 6001, 2)), CALM),
    "malformed heads": (b"".join(opening(n, b"\x82") for n in range(1, 6001, 2)), CALM),
    "data after the end": (call(1) + frame(frames.DATA, 0, 1, b"x") * 3000, CALM),
}


@pytest.mark.parametrize("name", CONNECTION)
def test_what_ends_a_connection(name: str) -> None:
    data, code = CONNECTION[name]

    async def test(site: Site, connect: Connect) -> None:
        other = await connect.peer()
        assert (await other.answer(other.call())).status == 0
        raw = await connect.raw(SETTLED + data)
        found = await raw.frames()
        assert found[-1][0] == frames.GOAWAY
        assert struct.unpack(">I", found[-1][3][4:8])[0] == code
        assert 0 < len(found[-1][3]) < 100
        assert (await other.answer(other.call())).status == 0

    serve(test)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        frames.PREFACE[:-1] + b"x",
        frames.PREFACE + frame(frames.PING, 0, 0, bytes(8)),
        frames.PREFACE + opening(1),
        frames.PREFACE + frame(frames.SETTINGS, frames.ACK, 0),
    ],
)
def test_what_is_not_http2(data: bytes) -> None:
    async def test(site: Site, connect: Connect) -> None:
        for pieces in ([data], [bytes((byte,)) for byte in data]):
            raw = await connect.raw()
            for piece in pieces:
                raw.writer.write(piece)
                await asyncio.sleep(0)
            found = await raw.frames()
            assert [kind for kind, *_ in found] == [frames.SETTINGS, frames.WINDOW_UPDATE, frames.GOAWAY]
            assert struct.unpack(">I", found[-1][3][4:8])[0] == PROTOCOL

    serve(test)


def changed(name: bytes, value: bytes | None) -> Head:
    """Return a head with another value for a field, or without it."""
    return [
        (key, old if key != name else value or b"") for key, old in head() if key != name or value is not None
    ]


# What is sent on stream 1, and the code of the RST_STREAM that ends it.
STREAM: dict[str, tuple[bytes, Code]] = {
    "no path": (opening(1, block(changed(b":path", None))), PROTOCOL),
    "empty path": (opening(1, block(changed(b":path", b""))), PROTOCOL),
    "no method": (opening(1, block(changed(b":method", None))), PROTOCOL),
    "no scheme": (opening(1, block(changed(b":scheme", None))), PROTOCOL),
    "a line in the path": (opening(1, block(changed(b":path", b"/a\r\nb"))), PROTOCOL),
    "two paths": (opening(1, block([(b":path", b"/"), *head()])), PROTOCOL),
    "unknown pseudo-header": (opening(1, block([(b":x", b"/"), *head()])), PROTOCOL),
    "a pseudo-header of answers": (opening(1, block([(b":status", b"200"), *head()])), PROTOCOL),
    "a pseudo-header at the end": (opening(1, block([*head(), (b":authority", b"y")])), PROTOCOL),
    "upper case": (opening(1, block([*head(), (b"X", b"y")])), PROTOCOL),
    "no name": (opening(1, block([*head(), (b"", b"y")])), PROTOCOL),
    "a space in a name": (opening(1, block([*head(), (b"x y", b"y")])), PROTOCOL),
    "a line in a value": (opening(1, block([*head(), (b"x", b"y\nz: 1")])), PROTOCOL),
    "a zero in a value": (opening(1, block([*head(), (b"x", b"\0")])), PROTOCOL),
    "spaces around a value": (opening(1, block([*head(), (b"x", b" y")])), PROTOCOL),
    "connection": (opening(1, block([*head(), (b"connection", b"close")])), PROTOCOL),
    "transfer-encoding": (opening(1, block([*head(), (b"transfer-encoding", b"chunked")])), PROTOCOL),
    "te": (opening(1, block(changed(b"te", b"gzip"))), PROTOCOL),
    "no head": (opening(1, b""), PROTOCOL),
    "length that is none": (opening(1, block(head(INFER, (b"content-length", b"-1")))), PROTOCOL),
    "two lengths": (
        opening(1, block(head(INFER, (b"content-length", b"1"), (b"content-length", b"2")))),
        PROTOCOL,
    ),
    "more than the length": (call(1, None, head(INFER, (b"content-length", b"3"))), PROTOCOL),
    "less than the length": (call(1, b"", head(INFER, (b"content-length", b"3"))), PROTOCOL),
    "nothing of the length": (
        opening(1, block(head(INFER, (b"content-length", b"3"))), frames.END_HEADERS | frames.END_STREAM),
        PROTOCOL,
    ),
    "headers in the middle": (opening(1) + opening(1, block([(b"x", b"y")])), PROTOCOL),
    "pseudo-headers at the end": (opening(1) + opening(1, block([(b":path", b"y")]), 5), PROTOCOL),
    "window of nothing": (opening(1) + windows(0, 1), PROTOCOL),
    "window beyond 2^31": (opening(1) + windows(2**31 - 1, 1), FLOW),
    "priority cut": (frame(frames.PRIORITY, 0, 1, bytes(4)), SIZE),
    "priority of itself": (frame(frames.PRIORITY, 0, 1, struct.pack(">IB", 1, 1)), PROTOCOL),
}


@pytest.mark.parametrize("name", STREAM)
def test_what_ends_a_stream(name: str) -> None:
    data, code = STREAM[name]

    async def test(site: Site, connect: Connect) -> None:
        raw = await connect.raw(SETTLED + data)
        _, _, stream, payload = await raw.next(frames.RST_STREAM)
        assert (stream, struct.unpack(">I", payload)[0]) == (1, code)
        raw.writer.write(call(11))  # the connection goes on
        assert (await raw.next(frames.HEADERS))[2] == 11

    serve(test)


def test_data_for_a_call_that_is_answered_closes_only_its_stream() -> None:
    async def test(site: Site, connect: Connect) -> None:
        raw = await connect.raw(SETTLED + call(1))
        while (await raw.next(frames.HEADERS))[1] & frames.END_STREAM == 0:
            pass
        raw.writer.write(frame(frames.DATA, 0, 1, b"x"))
        assert (await raw.next(frames.RST_STREAM))[3] == struct.pack(">I", CLOSED)
        raw.writer.write(call(3))
        assert (await raw.next(frames.HEADERS))[2] == 3

    serve(test)


# Limits in time: how far the clock is moved, and what the peer sees.
TIMES: dict[str, tuple[bytes, float, Code]] = {
    "nothing": (b"", 21, Code.SETTINGS_TIMEOUT),
    "half a preface": (frames.PREFACE[:9], 21, Code.SETTINGS_TIMEOUT),
    "half a frame": (SETTLED + call(1)[:-3], 21, CALM),
    "half a frame header": (SETTLED + b"\0\0", 21, CALM),
    "half a head": (SETTLED + continued(b"\x82"), 21, CALM),
    "no call": (SETTLED + call(1, b""), 301, Code.NO_ERROR),
}


@pytest.mark.parametrize("name", TIMES)
def test_peers_that_go_silent(name: str) -> None:
    data, seconds, code = TIMES[name]

    async def test(site: Site, connect: Connect) -> None:
        raw = await connect.raw(data)
        await until(lambda: len(site.server.connections) == 1)
        await asyncio.sleep(0.05)
        site.later(seconds - 3)
        assert not site.service.in_flight or site.server.connections
        site.later(seconds)
        site.later(seconds + 2)
        found = await raw.frames()
        assert found[-1][0] == frames.GOAWAY
        assert struct.unpack(">I", found[-1][3][4:8])[0] == code

    serve(test)


def test_a_peer_that_does_not_answer_a_ping_is_cut_off() -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut = True
        raw, alive = await connect.raw(SETTLED + call(1)), await connect.raw(SETTLED)
        await until(lambda: site.service.in_flight == 1)
        await alive.next(frames.SETTINGS)
        await alive.next(frames.SETTINGS)  # the acknowledgement
        site.later(31)
        for one in (raw, alive):
            _, _, _, ping = await one.next(frames.PING)
        alive.writer.write(frame(frames.PING, frames.ACK, 0, ping) + call(1))
        await until(lambda: site.service.in_flight == 2)
        site.later(52)
        assert await raw.frames() == []
        assert site.answered(499) == 1
        site.device.open()
        assert (await alive.next(frames.DATA))[2] == 1

    serve(test)


def test_messages_that_do_not_come() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        streams = [peer.open(), peer.open(head(LIVE))]
        peer.h2.send_data(streams[0], b"\0\0\0\0\x09abc")
        await peer.flush()
        await until(lambda: site.server.calls.running == 2 and site.bodies.held == 8)
        site.later(4)
        site.later(6)
        for stream in streams:
            answer = await peer.answer(stream)
            assert (answer.status, answer.text) == (4, "the message did not arrive within 5 seconds")
        assert (site.answered(408), site.bodies.held) == (1, 0)
        assert (await peer.answer(peer.call())).status == 0

    serve(test)


def test_bodies_that_arrive_share_one_budget_with_http() -> None:
    async def test(site: Site, connect: Connect) -> None:
        first, second = await connect.raw(), await connect.raw()
        part = frame(frames.DATA, 0, 1, struct.pack(">BI", 0, 70_000) + bytes(15_000))
        more = frame(frames.DATA, 0, 1, bytes(15_000))
        first.writer.write(SETTLED + opening(1) + part + more * 3)
        await until(lambda: site.bodies.held == 60_005)
        assert site.bodies.hold(30_000)  # as HTTP does
        second.writer.write(SETTLED + opening(1) + part)
        _, flags, _, payload = await second.next(frames.HEADERS)
        fields = dict(hpack.Decoder().decode(payload, raw=True))
        assert flags & frames.END_STREAM
        assert fields[b"grpc-status"] == b"8"
        assert fields[b"grpc-message"] == b"too many large requests arrive at once; try again later"
        assert site.answered(429) == 1
        site.bodies.release(30_000)
        first.writer.transport.abort()
        await until(lambda: site.bodies.held == 0)

    serve(test, budget=100_000)


def test_too_many_calls() -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut = True
        peer = await connect.peer()
        running = [peer.call() for _ in range(3)]
        slow = peer.open()
        await peer.flush()
        await until(lambda: site.server.calls.running == 4)
        refused = await peer.answer(peer.call())
        assert (refused.status, refused.text) == (8, "too many calls at once; try again later")
        await asyncio.sleep(1.1)  # now one of them is slow
        taken = peer.call()
        assert (await peer.answer(slow)).text == "too many calls at once; try again later"
        site.device.open()
        assert [(await peer.answer(stream)).status for stream in (*running, taken)] == [0] * 4

    serve(test, limits=replace(LIMITS, calls=4))


def test_too_many_connections() -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut = True
        busy = [await connect.peer() for _ in range(3)]
        for peer in busy:
            peer.call()
            await peer.flush()
        await until(lambda: site.service.in_flight == 3)
        idle = await connect.raw(SETTLED)
        await until(lambda: len(site.server.connections) == 4)
        new = await connect.peer()
        stream = new.call()
        await new.flush()
        await until(lambda: site.service.in_flight == 4)
        assert {kind for kind, *_ in await idle.frames()} <= {frames.SETTINGS, frames.WINDOW_UPDATE}
        refused = await (await connect.raw(SETTLED)).frames()
        assert struct.unpack(">II", refused[-1][3][:8]) == (0, CALM)
        site.device.open()
        assert (await new.answer(stream)).status == 0
        for peer in busy:
            assert (await peer.answer(1)).status == 0

    serve(test, limits=replace(LIMITS, connections=4))


def test_streams_beyond_the_limit_are_refused_unseen() -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut = True
        raw = await connect.raw(SETTLED + b"".join(call(stream) for stream in range(1, 13, 2)))
        for stream in (9, 11):
            assert (await raw.next(frames.RST_STREAM))[2:] == (stream, struct.pack(">I", Code.REFUSED_STREAM))
        assert site.service.in_flight == 4
        site.device.open()
        assert (await raw.next(frames.DATA))[2] == 1

    serve(test, limits=replace(LIMITS, streams=4))


@pytest.mark.parametrize("how", ["the window", "the socket"])
def test_answers_that_nobody_reads(how: str) -> None:
    settings = {} if how == "the window" else {Setting.INITIAL_WINDOW_SIZE: 2**30}

    async def test(site: Site, connect: Connect) -> None:
        other = await connect.peer()
        assert (await other.answer(other.call())).status == 0
        raw = await connect.raw(frames.PREFACE + frames.settings(settings))
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        if settings:
            raw.writer.write(windows(2**30))
        big = body(message(10, 20_000))  # 800,000 bytes
        pieces = [big[start : start + 16_000] for start in range(0, len(big), 16_000)]
        for stream in range(1, 21, 2):
            raw.writer.write(opening(stream))
            for piece in pieces:
                raw.writer.write(frame(frames.DATA, frames.END_STREAM * (piece is pieces[-1]), stream, piece))
                await raw.writer.drain()
        backlog = site.server.connections.backlog
        await until(lambda: site.answered(200) == 11)
        held = backlog.held
        assert 1_000_000 < held < 10 * 801_000
        site.later(0)
        site.later(25)
        assert len(site.server.connections) == 2
        site.later(31)
        assert backlog.held == 0
        assert (await other.answer(other.call())).status == 0

    serve(test)


@pytest.mark.parametrize("seconds", [31, 0])
def test_a_peer_that_asks_and_never_reads(seconds: float) -> None:
    """It is cut off for its silence; one that lets more pile up, at once."""
    state = b",".join(b"k%d=" % number + b"v" * 200 for number in range(15))
    fields = head(b"/", (b"traceparent", PARENT.encode()), (b"tracestate", state))  # which the answers repeat

    async def test(site: Site, connect: Connect) -> None:
        raw, encoder = await connect.raw(SETTLED), hpack.Encoder()
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        (connection,) = await connected(site)
        stream = 1
        while site.server.connections and not (seconds and connection.outbox.paused):
            for _ in range(10 if seconds else 100):  # so few do not pile up
                raw.writer.write(opening(stream, encoder.encode(fields), 5))
                stream += 2
            await taken(site, connection, stream - 2)
        assert stream > 1000
        if seconds:
            site.later(0)
            for later in range(0, 29, 7):  # what piles up is no progress
                raw.writer.write(frame(frames.PING, 0, 0, bytes(8)) * 100)
                await asyncio.sleep(0.05)
                site.later(later)
            assert site.server.connections
            site.later(seconds)
        assert not site.server.connections

    serve(test)


def calls_from(first: int) -> bytes:
    return b"".join(call(stream, b"", head(b"/x")) for stream in range(first, first + 2000, 2))


async def taken(site: Site, connection: Any, stream: int) -> None:
    """Wait until a connection has taken a stream, or has ended."""
    await until(lambda: connection._last >= stream or not site.server.connections)


async def connected(site: Site) -> list[Any]:
    await until(lambda: bool(site.server.connections))
    return list(site.server.connections)


def test_calls_that_are_refused_are_no_noise() -> None:
    async def test(site: Site, connect: Connect) -> None:
        raw = await connect.raw(SETTLED)
        for first in range(1, 8001, 2000):
            raw.writer.write(calls_from(first))
            seen = 0
            while seen < 1000:
                seen += (await raw.next(frames.HEADERS))[1] & frames.END_STREAM
        raw.writer.write(call(9001))
        assert (await raw.next(frames.DATA))[2] == 9001

    serve(test)


def test_who_holds_most_of_a_full_backlog_is_cut_off() -> None:
    async def test(site: Site, connect: Connect) -> None:
        backlog = site.server.connections.backlog = Backlog(500_000)
        small, large = await connect.raw(SETTLED), await connect.raw(SETTLED)
        requests = body(message(1, 2000)), body(message(1, 4000))
        for stream in range(1, 201, 2):
            small.writer.write(call(stream, requests[0]) if stream < 21 else b"")
            large.writer.write(call(stream, requests[1]))
            await asyncio.sleep(0)
            if large.writer.transport.is_closing():
                break
        await until(lambda: len(site.server.connections) == 1)
        assert 0 < backlog.held < 500_000
        small.writer.write(windows(10**6) + b"".join(windows(10**5, stream) for stream in range(1, 21, 2)))
        await until(lambda: backlog.held == 0)

    serve(test)
