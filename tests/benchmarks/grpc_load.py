"""Load for gRPC servers: each call has a body, an id and a trace of its own, as those of real clients have.

Frames of HTTP/2 are made before: a client of grpcio costs more than the servers that it would measure.
"""

import asyncio
import os
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import hpack
import numpy as np
import uvloop

from modelpress.serving.grpc import messages as pb
from tests.support.serving import grpc_frames as frames

CALLS = 512  # different ones
_WINDOW = 2**30


@dataclass
class Load:
    """What one run sends and sees."""

    seconds: float
    calls: list[tuple[bytes, bytes]]  # heads and bodies
    started: int = 0
    end: float = 0.0
    took: list[float] = field(default_factory=list)
    failed: int = 0


class _Connection(asyncio.Protocol):
    """One connection with one call at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._stream = -1
        self._begun = 0.0
        self._rest = b""
        self._answered = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(frames.PREFACE + frames.settings({4: 2**20}) + frames.windows(_WINDOW))
        self._next()

    def _next(self) -> None:
        load = self._load
        now = time.perf_counter()
        if now > load.end:
            self._transport.close()
            return
        head, body = load.calls[load.started % len(load.calls)]
        load.started += 1
        self._stream += 2
        self._begun, self._answered = now, False
        self._transport.write(
            frames.frame(frames.HEADERS, frames.END_HEADERS, self._stream, head)
            + frames.frame(frames.DATA, frames.END_STREAM, self._stream, body)
        )

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= frames.HEADER.size:
            high, low, kind, flags, _ = frames.HEADER.unpack_from(data, at)
            size = frames.HEADER.size + (high << 8 | low)
            if len(data) - at < size:
                break
            payload = data[at + frames.HEADER.size : at + size]
            at += size
            if kind == frames.SETTINGS and not flags & frames.ACK:
                self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
            elif kind == frames.PING and not flags & frames.ACK:
                self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
            elif kind == frames.DATA:
                self._answered = True
            elif kind == frames.HEADERS and flags & frames.END_STREAM:
                self._load.took.append(time.perf_counter() - self._begun)
                self._load.failed += not self._answered
                self._next()
        self._rest = data[at:]


def calls(path: str) -> list[tuple[bytes, bytes]]:
    """Return heads and bodies of CALLS inferences of one row of 64 numbers."""
    found = []
    for number in range(CALLS):
        row = np.random.default_rng(number).random((1, 64), dtype="float32")
        message = pb.ModelInferRequest(
            model_name="digits", id=os.urandom(8).hex(), raw_input_contents=[row.tobytes()]
        )
        message.inputs.add(name="images", datatype="FP32", shape=row.shape)
        data = message.SerializeToString()
        trace = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01".encode()
        fields = frames.head(path.encode(), (b"traceparent", trace))
        encoder = hpack.Encoder()
        encoder.header_table_size = 0  # a head must not depend on those before
        found.append((encoder.encode(fields), struct.pack(">BI", 0, len(data)) + data))
    return found


def run(port: int, connections: int, load: Load) -> Load:
    """Send the calls of `load` for its seconds, one at a time on each connection."""

    async def send() -> None:
        load.end = time.perf_counter() + load.seconds
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
        await asyncio.sleep(load.seconds + 0.3)

    uvloop.run(send())
    return load
