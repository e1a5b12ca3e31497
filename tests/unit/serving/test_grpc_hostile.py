"""Peers that break the rules of HTTP/2: they get the RFC's code, others go on."""

import asyncio
import struct

import hpack
import pytest

from modelpress.serving.protocols.grpc import frames
from modelpress.serving.protocols.grpc.frames import Code, Setting, frame
from tests.unit.serving.grpc_site import (
    INFER,
    SETTLED,
    Connect,
    Head,
    Site,
    call,
    continued,
    head,
    opening,
    serve,
    windows,
)

PROTOCOL, SIZE, FLOW = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR
CALM, CLOSED, COMPRESSION = Code.ENHANCE_YOUR_CALM, Code.STREAM_CLOSED, Code.COMPRESSION_ERROR
WINDOW = struct.pack(">I", 1)


def block(fields: Head) -> bytes:
    return hpack.Encoder().encode(fields)


def setting(key: int, value: int) -> bytes:
    return frame(frames.SETTINGS, 0, 0, struct.pack(">HI", key, value))


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
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
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
