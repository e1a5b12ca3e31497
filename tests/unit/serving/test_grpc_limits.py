"""Peers that do harm within the rules of HTTP/2: limits in time, in number and in bytes; others go on."""

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
from tests.unit.serving.grpc_site import (
    LIVE,
    SETTLED,
    Connect,
    Site,
    body,
    call,
    continued,
    head,
    message,
    opening,
    serve,
    windows,
)
from tests.unit.serving.http_site import until
from tests.unit.serving.trace_context import PARENT

CALM = Code.ENHANCE_YOUR_CALM


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
