"""Frames of HTTP/2 (RFC 9113) and messages of gRPC, for tests that send what no client would."""

import asyncio
import struct

import hpack
import numpy as np

from modelpress.serving.grpc import messages as pb

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = struct.Struct(">HBBBI")  # length (16 and 8 bits), kind, flags, stream
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20
CANCEL = 8

INFER = b"/inference.GRPCInferenceService/ModelInfer"
LIVE = b"/inference.GRPCInferenceService/ServerLive"
WATCH = b"/grpc.health.v1.Health/Watch"
Head = list[tuple[bytes, bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEADER.pack(size >> 8, size & 255, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in values.items()))


SETTLED = PREFACE + settings({})


def head(path: bytes = INFER, *more: tuple[bytes, bytes]) -> Head:
    """Return the fields that a gRPC client sends."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    ]


def block(fields: Head) -> bytes:
    return hpack.Encoder().encode(fields)


def message(rows: int = 1, columns: int = 64, value: float = 1.5) -> bytes:
    """Return a serialized request."""
    array = np.full((rows, columns), value, "float32")
    request = pb.ModelInferRequest(model_name="digits", raw_input_contents=[array.tobytes()])
    request.inputs.add(name="images", datatype="FP32", shape=array.shape)
    return bytes(request.SerializeToString())


def body(*messages: bytes, compressed: int = 0) -> bytes:
    return b"".join(struct.pack(">BI", compressed, len(one)) + one for one in messages)


def call(stream: int, data: bytes | None = None, fields: Head | None = None) -> bytes:
    """Return the frames of a whole request."""
    opened = opening(stream, block(head() if fields is None else fields))
    return opened + frame(DATA, END_STREAM, stream, body(message()) if data is None else data)


def opening(stream: int, fields: bytes | None = None, flags: int = END_HEADERS) -> bytes:
    """Return the HEADERS frame of a request whose body is to come."""
    return frame(HEADERS, flags, stream, block(head()) if fields is None else fields)


def windows(size: int, stream: int = 0) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def reset(stream: int) -> bytes:
    """Return the frame that cancels a call."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def continued(*parts: bytes, stream: int = 1) -> bytes:
    """Return a head that goes on in CONTINUATION frames and does not end."""
    pieces = [frame(CONTINUATION, 0, stream, part) for part in parts]
    return opening(stream, b"", 0) + b"".join(pieces)


async def read(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Return kind, flags and payload of the next frame."""
    high, low, kind, flags, _ = HEADER.unpack(await reader.readexactly(HEADER.size))
    return kind, flags, await reader.readexactly(high << 8 | low)
