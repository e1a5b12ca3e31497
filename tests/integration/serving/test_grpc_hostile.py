"""Peers that break the rules of HTTP/2, or flood: the worker goes on, and others are served."""

import asyncio
import contextlib
import struct

import grpc
import psutil
import pytest

from tests.support.serving import grpc_frames as frames
from tests.support.serving.artifacts import Worker
from tests.support.serving.grpc_client import Client, images, output, until
from tests.support.serving.grpc_frames import (
    INFER,
    PREFACE,
    SETTLED,
    Head,
    block,
    call,
    continued,
    frame,
    head,
    opening,
    windows,
)

WINDOW = struct.pack(">I", 1)
ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 2, 4, 5


def setting(key: int, value: int) -> bytes:
    return frames.settings({key: value})


# What is sent after the preface.
CONNECTION: dict[str, bytes] = {
    "data for no stream": (frame(frames.DATA, 0, 0, b"x")),
    "data for an idle stream": (frame(frames.DATA, 0, 7, b"x")),
    "data of a stream of ours": (frame(frames.DATA, 0, 2, b"x")),
    "padding of everything": (opening(1) + frame(frames.DATA, frames.PADDED, 1, bytes((5,)) + bytes(4))),
    "padding without a length": (opening(1) + frame(frames.DATA, frames.PADDED, 1)),
    "a frame that is too large": (opening(1) + frame(frames.DATA, 0, 1, bytes(16_385))),
    "an unknown frame that is too large": (frame(99, 0, 0, bytes(70_000))),
    "headers for no stream": (opening(0)),
    "headers for a stream of ours": (opening(2)),
    "padded headers": (frame(frames.HEADERS, frames.PADDED | 4, 1, bytes((200,)) + b"x")),
    "headers without their priority": (frame(frames.HEADERS, frames.PRIORITIZED | 4, 1, b"xx")),
    "headers that depend on themselves": (
        frame(frames.HEADERS, frames.PRIORITIZED | 4, 1, struct.pack(">IB", 1, 0) + block(head()))
    ),
    "headers for an earlier stream": (call(5) + opening(3)),
    "hpack: no such index": (opening(1, b"\xff\xff\x03")),
    "hpack: index zero": (opening(1, b"\x80")),
    "hpack: cut": (opening(1, b"\x00\x05ab")),
    "hpack: endless integer": (opening(1, b"\xff" * 30)),
    "hpack: Huffman padding": (opening(1, b"\x00\x81\x00\x81\x00")),
    "hpack: table too large": (opening(1, b"\x3f\xff\xff\x7f")),
    "hpack: size update after a field": (opening(1, b"\x82\x20")),
    "hpack: bomb": (opening(1, b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000 + b"\xbe" * 12_000)),
    "continuation of nothing": (frame(frames.CONTINUATION, 4, 1, b"x")),
    "continuation of another stream": (continued(b"", stream=1) + frame(frames.CONTINUATION, 4, 3)),
    "another frame inside a head": (continued() + frame(frames.PING, 0, 0, bytes(8))),
    "continuation flood": (continued(*[b""] * 100)),
    "a head without end": (continued(*[bytes(1000)] * 20)),
    "settings for a stream": (frame(frames.SETTINGS, 0, 1)),
    "settings cut": (frame(frames.SETTINGS, 0, 0, bytes(5))),
    "settings acknowledged with a payload": (frame(frames.SETTINGS, frames.ACK, 0, bytes(6))),
    "push 2": (setting(ENABLE_PUSH, 2)),
    "window of 2^31": (setting(INITIAL_WINDOW_SIZE, 2**31)),
    "frames of 16383": (setting(MAX_FRAME_SIZE, 16_383)),
    "frames of 2^24": (setting(MAX_FRAME_SIZE, 2**24)),
    "push promise": (frame(frames.PUSH_PROMISE, 4, 1, bytes(4))),
    "ping for a stream": (frame(frames.PING, 0, 1, bytes(8))),
    "ping cut": (frame(frames.PING, 0, 0, bytes(7))),
    "goaway for a stream": (frame(frames.GOAWAY, 0, 1, bytes(8))),
    "goaway cut": (frame(frames.GOAWAY, 0, 0, bytes(7))),
    "priority for no stream": (frame(frames.PRIORITY, 0, 0, bytes(5))),
    "reset of no stream": (frame(frames.RST_STREAM, 0, 0, WINDOW)),
    "reset of an idle stream": (frame(frames.RST_STREAM, 0, 9, WINDOW)),
    "reset cut": (opening(1) + frame(frames.RST_STREAM, 0, 1, b"xxx")),
    "window cut": (frame(frames.WINDOW_UPDATE, 0, 0, b"xxx")),
    "window of nothing": (windows(0)),
    "window beyond 2^31": (windows(2**31 - 1)),
    "window of an idle stream": (windows(1, 9)),
    "a stream's window beyond 2^31 by settings": (
        opening(1) + windows(2**31 - 70_000, 1) + setting(INITIAL_WINDOW_SIZE, 2**20)
    ),
    "ping flood": (frame(frames.PING, 0, 0, bytes(8)) * 3000),
    "settings flood": (frames.settings({}) * 3000),
    "settings acknowledgement flood": (frame(frames.SETTINGS, frames.ACK, 0) * 3000),
    "priority flood": (frame(frames.PRIORITY, 0, 1, struct.pack(">IB", 3, 1)) * 3000),
    "empty data flood": (opening(1) + frame(frames.DATA, 0, 1) * 3000),
    "padding flood": (opening(1) + frame(frames.DATA, frames.PADDED, 1, bytes(10)) * 3000),
    "window flood": (opening(1) + windows(1, 1) * 3000),
    "unknown frames": (frame(77, 0, 0) * 3000),
    "goaway flood": (frame(frames.GOAWAY, 0, 0, bytes(8)) * 3000),
    "rapid reset": (b"".join(opening(n) + frames.reset(n) for n in range(1, 6001, 2))),
    "streams beyond the limit": (b"".join(opening(n) for n in range(1, 6001, 2))),
    "malformed heads": (b"".join(opening(n, b"\x82") for n in range(1, 6001, 2))),
    "data after the end": (call(1) + frame(frames.DATA, 0, 1, b"x") * 3000),
}


def changed(name: bytes, value: bytes | None) -> Head:
    """Return a head with another value for a field, or without it."""
    return [
        (key, old if key != name else value or b"") for key, old in head() if key != name or value is not None
    ]


# What is sent on one stream against the rules for heads, lengths and windows.
STREAM: dict[str, bytes] = {
    "no path": (opening(1, block(changed(b":path", None)))),
    "empty path": (opening(1, block(changed(b":path", b"")))),
    "no method": (opening(1, block(changed(b":method", None)))),
    "no scheme": (opening(1, block(changed(b":scheme", None)))),
    # grpcio's asyncio server ends at one of these
    "a path that is no UTF-8": (opening(1, block(changed(b":path", b"/\xff")))),
    "a line in the path": (opening(1, block(changed(b":path", b"/a\r\nb")))),
    "two paths": (opening(1, block([(b":path", b"/"), *head()]))),
    "unknown pseudo-header": (opening(1, block([(b":x", b"/"), *head()]))),
    "a pseudo-header of answers": (opening(1, block([(b":status", b"200"), *head()]))),
    "a pseudo-header at the end": (opening(1, block([*head(), (b":authority", b"y")]))),
    "upper case": (opening(1, block([*head(), (b"X", b"y")]))),
    "no name": (opening(1, block([*head(), (b"", b"y")]))),
    "a space in a name": (opening(1, block([*head(), (b"x y", b"y")]))),
    "a line in a value": (opening(1, block([*head(), (b"x", b"y\nz: 1")]))),
    "a zero in a value": (opening(1, block([*head(), (b"x", b"\0")]))),
    "spaces around a value": (opening(1, block([*head(), (b"x", b" y")]))),
    "connection": (opening(1, block([*head(), (b"connection", b"close")]))),
    "transfer-encoding": (opening(1, block([*head(), (b"transfer-encoding", b"chunked")]))),
    "te": (opening(1, block(changed(b"te", b"gzip")))),
    "no head": (opening(1, b"")),
    "length that is none": (opening(1, block(head(INFER, (b"content-length", b"-1"))))),
    "two lengths": (opening(1, block(head(INFER, (b"content-length", b"1"), (b"content-length", b"2"))))),
    "more than the length": (call(1, None, head(INFER, (b"content-length", b"3")))),
    "less than the length": (call(1, b"", head(INFER, (b"content-length", b"3")))),
    "nothing of the length": (
        opening(1, block(head(INFER, (b"content-length", b"3"))), frames.END_HEADERS | frames.END_STREAM)
    ),
    "headers in the middle": (opening(1) + opening(1, block([(b"x", b"y")]))),
    "pseudo-headers at the end": (opening(1) + opening(1, block([(b":path", b"y")]), 5)),
    "window of nothing": (opening(1) + windows(0, 1)),
    "window beyond 2^31": (opening(1) + windows(2**31 - 1, 1)),
    "priority cut": (frame(frames.PRIORITY, 0, 1, bytes(4))),
    "priority of itself": (frame(frames.PRIORITY, 0, 1, struct.pack(">IB", 1, 1))),
}


NOT_HTTP2 = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "a wrong preface": PREFACE[:-1] + b"x",
    "no settings": PREFACE + frame(frames.PING, 0, 0, bytes(8)),
    "a call before the settings": PREFACE + opening(1),
    "an acknowledgement before the settings": PREFACE + frame(frames.SETTINGS, frames.ACK, 0),
}
HOSTILE = {
    **{name: SETTLED + data for name, data in (CONNECTION | STREAM).items()},
    **NOT_HTTP2,
    # a peer that takes no byte of any answer
    "no window": PREFACE + setting(INITIAL_WINDOW_SIZE, 0) + b"".join(call(n) for n in range(1, 400, 2)),
    "no window for the health": PREFACE
    + setting(INITIAL_WINDOW_SIZE, 0)
    + b"".join(call(n, frames.body(b""), head(frames.WATCH)) for n in range(1, 40, 2)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_peer_harms_nobody(flooded: Worker, name: str) -> None:
    client = Client(flooded.grpc)
    expected = output(client.infer(images(3)))

    async def attack() -> None:
        host, _, port = flooded.grpc.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(0.2):
                writer.write(HOSTILE[name])
                await writer.drain()
                while await reader.read(65536):
                    pass
        for _ in range(3):  # the peer is still there, or was ended
            assert output(await asyncio.to_thread(client.infer, images(3))) == expected
            assert (await asyncio.to_thread(client.health, b"")) == b"\x08\x01"
        writer.transport.abort()

    asyncio.run(attack())
    client.channel.close()
    assert flooded.process.poll() is None
    assert "Traceback" not in flooded.log.read_text()


def test_what_floods_leave_is_little(flooded: Worker) -> None:
    process = psutil.Process(flooded.process.pid)
    flood = b"".join(opening(n) + frames.reset(n) for n in range(1, 20_001, 2))

    async def attack() -> None:
        host, _, port = flooded.grpc.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(2):
                writer.write(SETTLED + flood)
                await writer.drain()
        writer.transport.abort()

    def settled(floods: int) -> int:
        """Return the bytes that the worker holds after floods and a call, tried again if refused."""
        for _ in range(floods):
            asyncio.run(attack())
        client = Client(flooded.grpc)

        def answered() -> bool:
            with contextlib.suppress(grpc.RpcError):
                return bool(output(client.infer(images(3))))
            return False

        until(answered)
        client.channel.close()
        return process.memory_info().rss

    before = settled(12)  # with the memory of many threads
    assert settled(12) < 1.2 * before
