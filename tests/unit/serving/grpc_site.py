"""A gRPC server over a model that doubles, in the test's event loop, and clients that see frames.

`Peer` speaks through the package h2; `Raw` sends whatever bytes it is told to.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import numpy as np

from modelpress.serving.protocols.grpc import frames
from modelpress.serving.protocols.grpc import open_inference_pb2 as pb
from modelpress.serving.protocols.grpc.limits import LIMITS, Http2Limits
from modelpress.serving.protocols.grpc.server import GrpcServer
from tests.unit.serving.http_site import FLOAT, MAX_BODY, TIMEOUT, Stand

INFER = b"/inference.GRPCInferenceService/ModelInfer"
LIVE = b"/inference.GRPCInferenceService/ServerLive"
SETTLED = frames.PREFACE + frames.settings({})
PeerSettings = dict[h2.settings.SettingCodes, int]
Head = list[tuple[bytes, bytes]]


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


def message(rows: int = 1, columns: int = 3, value: float = 1.5) -> bytes:
    """Return a serialized request."""
    array = np.full((rows, columns), value, FLOAT)
    request = pb.ModelInferRequest(model_name="double", raw_input_contents=[array.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    return bytes(request.SerializeToString())


def body(*messages: bytes, compressed: int = 0) -> bytes:
    return b"".join(struct.pack(">BI", compressed, len(one)) + one for one in messages)


def call(stream: int, data: bytes | None = None, fields: Head | None = None) -> bytes:
    """Return the frames of a whole request."""
    block = hpack.Encoder().encode(head() if fields is None else fields)
    return opening(stream, block) + frames.frame(
        frames.DATA, frames.END_STREAM, stream, body(message()) if data is None else data
    )


def opening(stream: int, block: bytes | None = None, flags: int = frames.END_HEADERS) -> bytes:
    """Return the HEADERS frame of a request whose body is to come."""
    return frames.frame(
        frames.HEADERS, flags, stream, hpack.Encoder().encode(head()) if block is None else block
    )


def windows(size: int, stream: int = 0) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frames.frame(frames.WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def continued(*parts: bytes, stream: int = 1) -> bytes:
    """Return a head that goes on in CONTINUATION frames and does not end."""
    pieces = [frames.frame(frames.CONTINUATION, 0, stream, part) for part in parts]
    return opening(stream, b"", 0) + b"".join(pieces)


class Site(Stand):
    """The server and what it stands on."""

    def __init__(
        self, limits: Http2Limits = LIMITS, budget: int = 4 * MAX_BODY, timeout: float = TIMEOUT
    ) -> None:
        super().__init__(budget, timeout)
        self.stopped = False
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.server = GrpcServer(self.service, self.bodies, listener, limits)

    async def stop(self, seconds: float) -> None:
        if not self.stopped:
            self.stopped = True
            await self.server.stop(seconds)

    def later(self, seconds: float) -> None:
        """Let the server look at a clock that is that much later."""
        self.server.check(asyncio.get_running_loop().time() + seconds)


class Answer:
    """What has come on one stream."""

    def __init__(self) -> None:
        self.head: dict[bytes, bytes] = {}
        self.body = b""
        self.frames: list[int] = []  # sizes of its DATA frames
        self.trailers: dict[bytes, bytes] = {}
        self.reset: int | None = None
        self.ended = False

    @property
    def status(self) -> int:
        return int(self.trailers.get(b"grpc-status", self.head.get(b"grpc-status", b"-1")))

    @property
    def text(self) -> str:
        return (self.trailers.get(b"grpc-message") or self.head.get(b"grpc-message", b"")).decode()

    @property
    def values(self) -> Any:
        assert self.body[:5] == struct.pack(">BI", 0, len(self.body) - 5)
        return np.frombuffer(pb.ModelInferResponse.FromString(self.body[5:]).raw_output_contents[0], FLOAT)


class Peer:
    """A client that h2 keeps honest; `settings` are sent with the preface."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: PeerSettings | None = None,
    ) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None)
        )
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=settings)
            frame = h2.settings.SettingCodes.MAX_FRAME_SIZE  # h2 would wait for the acknowledgement
            self.h2.max_inbound_frame_size = settings.get(frame, frames.DEFAULT_FRAME_BYTES)
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []  # code and last stream
        self.pings = 0
        self.closed = False
        self.acknowledge = True  # gives the server back what it sent of the windows

    def open(self, fields: Head | None = None, end: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, fields or head(), end_stream=end)
        return int(stream)

    def send(self, stream: int, data: bytes, end: bool = True) -> None:
        """Send a body, in frames as large as the server takes."""
        size = self.h2.max_outbound_frame_size
        pieces = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
        for piece in pieces[:-1]:
            self.h2.send_data(stream, piece)
        self.h2.send_data(stream, pieces[-1], end_stream=end)

    def call(self, data: bytes | None = None, fields: Head | None = None) -> int:
        stream = self.open(fields)
        self.send(stream, body(message()) if data is None else data)
        return stream

    async def upload(self, stream: int, data: bytes) -> None:
        """Send a body as fast as the server gives room for it."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if room:
                self.h2.send_data(stream, data[:room], end_stream=room == len(data))
                data = data[room:]
            else:
                await self.read()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def read(self) -> None:
        """Take what the server has sent."""
        await self.flush()
        data = await self.reader.read(65536)
        self.closed = self.closed or not data
        for event in self.h2.receive_data(data) if data else ():
            self._take(event)
        await self.flush()

    async def answer(self, stream: int) -> Answer:
        """Wait for the end of a stream."""
        answer = self.answers[stream]
        while not answer.ended and not self.closed:
            await self.read()
        return answer

    async def more(self, stream: int) -> None:
        """Wait for a byte more of an answer, or for its end."""
        answer, before = self.answers[stream], len(self.answers[stream].body)
        await self.until(lambda: len(answer.body) > before or answer.ended)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert not self.closed
            await self.read()

    def _take(self, event: Any) -> None:
        answer = self.answers.get(getattr(event, "stream_id", 0))
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append((int(event.error_code or 0), event.last_stream_id or 0))
        elif isinstance(event, h2.events.PingReceived):
            self.pings += 1
        elif answer is None:
            return
        elif isinstance(event, h2.events.ResponseReceived):
            answer.head = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            answer.frames.append(len(event.data))
            if self.acknowledge:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)
            answer.ended = True
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True


class Raw:
    """A client that sends bytes, and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def frame(self) -> tuple[int, int, int, bytes]:
        """Return kind, flags, stream and payload of the next frame."""
        high, low, kind, flags, stream = frames.HEADER.unpack(await self.reader.readexactly(9))
        return kind, flags, stream, await self.reader.readexactly(high << 8 | low)

    async def frames(self) -> list[tuple[int, int, int, bytes]]:
        """Return all frames until the server ends the connection."""
        found = []
        try:
            while True:
                found.append(await self.frame())
        except (asyncio.IncompleteReadError, ConnectionError):
            return found

    async def next(self, kind: int) -> tuple[int, int, int, bytes]:
        while (found := await self.frame())[0] != kind:
            pass
        return found


class Connect:
    """Makes clients of a site."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def peer(self, settings: PeerSettings | None = None) -> Peer:
        return Peer(*await self._open(), settings)

    async def raw(self, data: bytes = b"") -> Raw:
        reader, writer = await self._open()
        writer.write(data)
        return Raw(reader, writer)

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer


def serve(test: Callable[[Site, Connect], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run `test` with a site and a way to connect to it; nothing may be left of its calls."""

    async def run() -> None:
        site = Site(**options)
        await site.server.start()
        connect = Connect(site.port)
        try:
            async with asyncio.timeout(60):
                await test(site, connect)
                connect.close()
                site.device.open()
                while site.server.connections or site.service.in_flight:
                    await asyncio.sleep(0.005)
        finally:
            await site.stop(1)
        assert (site.bodies.held, site.server.calls.running) == (0, 0)
        assert site.server.connections.backlog.held == 0

    asyncio.run(run())
