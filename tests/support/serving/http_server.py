"""A real HTTP server over a model that doubles, in the test's event loop, and its clients."""

import asyncio
import json
import re
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import uvloop

from modelpress.serving.batching.queue import Batcher, Limits
from modelpress.serving.drain import Drain
from modelpress.serving.exchange import Budget
from modelpress.serving.executors.base import Array, Arrays
from modelpress.serving.http.connections import ConnectionLimits, sweep
from modelpress.serving.http.server import LIMITS, HttpServer
from modelpress.serving.observability.metrics import Metrics
from modelpress.serving.placement.devices import InLoop
from modelpress.serving.placement.parallelism import Done
from modelpress.serving.protocols.base import Model
from modelpress.serving.service import Service
from modelpress.serving.signature import Signature, Tensor

OIP = "/v2/models/double/infer"
PREDICT = "/v1/models/double:predict"
ROW = b'{"instances": [[1]]}'
FLOAT = np.dtype("float32")
SIGNATURE = Signature((Tensor("x", (-1, -1), FLOAT),), (Tensor("y", (-1, -1), FLOAT),))
MODEL = Model("double", "double-1", "sha256:0", SIGNATURE)
MAX_BODY = 2**20
TIMEOUT = 5.0


def post(path: str, body: bytes, headers: str = "", version: str = "1.1") -> bytes:
    length = f"Content-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/{version}\r\nHost: localhost\r\n{length}{headers}\r\n".encode() + body


def raw_request(path: str, values: Array) -> bytes:
    """Return a request of the binary extension that wants raw outputs."""
    body, header = raw_body(values)
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{header}\r\n".encode()
        + body
    )


def raw_body(values: Array) -> tuple[bytes, str]:
    """Return its body, and the header that says where the JSON ends."""
    entry = {
        "name": "x",
        "datatype": "FP32",
        "shape": values.shape,
        "parameters": {"binary_data_size": values.nbytes},
    }
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    return head + values.tobytes(), f"Inference-Header-Content-Length: {len(head)}\r\n"


class Doubles:
    """An executor of one input and one output."""

    def __init__(self) -> None:
        self.rows = 0

    def run(self, inputs: Arrays) -> list[Array]:
        self.rows += len(inputs[0])
        if (inputs[0] == -1).any():
            raise ZeroDivisionError("a fault of the runtime")
        return [inputs[0] * 2]

    def close(self) -> None:
        pass


class Gated(InLoop):
    """Computes at once, or when `open` is called."""

    depth = 64
    shut = False

    def __init__(self, executor: Doubles) -> None:
        super().__init__(executor)
        self.waiting: list[tuple[Arrays, Done]] = []

    def start(self, inputs: Arrays, done: Done, alone: bool) -> None:
        if self.shut:
            self.waiting.append((inputs, done))
        else:
            super().start(inputs, done, alone)

    def open(self) -> None:
        self.shut = False
        for inputs, done in self.waiting:
            super().start(inputs, done, alone=False)
        self.waiting = []


class ServiceFixture:
    """What a server stands on: a service with a model that doubles."""

    def __init__(self, budget: int, timeout: float) -> None:
        self.executor = Doubles()
        self.device = Gated(self.executor)
        self.metrics = Metrics()
        self.service = Service("double", self.metrics)
        self.bodies = Budget(MAX_BODY, budget, timeout)
        self.batcher = Batcher(self.device, Limits(32, 0, timeout, 10_000, 2**26), self.metrics)
        self.service.serve(MODEL, self.batcher)

    def answered(self, code: int) -> float:
        """Return how many inference requests got `code`, by the metrics."""
        text = self.metrics.expose("")[0].decode()
        found = re.findall(rf'modelpress_requests_total{{code="{code}",protocol="[^"]*"}} (\S+)', text)
        return sum(map(float, found))


class ServerFixture(ServiceFixture):
    """A server."""

    def __init__(
        self,
        budget: int = 4 * MAX_BODY,
        timeout: float = TIMEOUT,
        limits: ConnectionLimits = LIMITS,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(budget, timeout)
        listener = socket.create_server((host, 0))
        self.port = listener.getsockname()[1]
        self.http = HttpServer(self.service, self.bodies, listener, limits)
        self.http.routes.add_model(MODEL)

    @property
    def connections(self) -> list[Any]:
        return list(self.http.connections.open)

    def later(self, seconds: float) -> None:
        """Let the connections look at a clock that is that much later."""
        sweep(self.connections, asyncio.get_running_loop().time() + seconds)

    async def later_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the connections find out when they look at the clock."""
        while not condition():
            self.later(2)
            await asyncio.sleep(0.005)

    async def connect(self, data: bytes = b"") -> "Peer":
        """Return a client that the server knows of."""
        before = set(self.connections)
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        while before.issuperset(self.connections):
            await asyncio.sleep(0.001)
        if data:
            await peer.send(data)
        return peer

    async def stop(self) -> None:
        drain = Drain(self.service, 0)
        drain.hurry = True
        for connection in self.connections:
            connection.transport.abort()
        await self.http.stop(drain, 5)


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.005)

    async def answer(self) -> tuple[bytes, bytes]:
        """Return head and body of the next answer, the head without its date."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        return re.sub(rb"date: [^\r]*\r\n", b"", head), await self.reader.readexactly(length)

    async def status(self) -> tuple[int, bytes]:
        """Return code and body of the next answer."""
        head, body = await asyncio.wait_for(self.answer(), 20)
        return int(head[9:12]), body

    async def error(self) -> tuple[int, str]:
        """Return code and message of the next answer, an error."""
        status, body = await self.status()
        return status, json.loads(body)["error"]

    async def ended(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(), 20) == b""
        except ConnectionResetError:
            return True


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own limit ends what never holds."""
    while not condition():
        await asyncio.sleep(0.005)


def serve(test: Callable[[ServerFixture, Any], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run `test` with a server and a way to connect to it."""

    async def run() -> None:
        server = ServerFixture(**options)
        await server.http.start()
        try:
            async with asyncio.timeout(60):
                await test(server, server.connect)
                while server.service.in_flight:
                    await asyncio.sleep(0.01)
                assert server.bodies.held == 0
        finally:
            await server.stop()

    uvloop.run(run())
