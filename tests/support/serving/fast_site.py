"""A server with the fast path over an application of one model, for its tests; on real sockets.

A query makes the fast path decline, and the application ignores it: so both can be asked the same.
"""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import uvicorn
import uvloop

from modelpress.serving.batching import Batcher, Limits
from modelpress.serving.connection import sweep
from modelpress.serving.devices import InLoop
from modelpress.serving.executors.base import Array, Arrays
from modelpress.serving.fast_path import fast_connections
from modelpress.serving.parallelism import Done
from modelpress.serving.protocols.app import App
from modelpress.serving.protocols.base import Model
from modelpress.serving.protocols.http import BodyReader
from modelpress.serving.protocols.metrics import Metrics
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
    return f"POST {path} HTTP/{version}\r\nHost: x\r\n{length}{headers}\r\n".encode() + body


def raw_request(path: str, values: Array) -> bytes:
    """Return a request of the binary extension that wants raw outputs."""
    body, header = raw_body(values)
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{header}\r\n".encode() + body


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


class Stand:
    """What a server stands on: a service with a model that doubles."""

    def __init__(self, budget: int, timeout: float) -> None:
        self.executor = Doubles()
        self.device = Gated(self.executor)
        self.metrics = Metrics()
        self.service = Service("double", self.metrics)
        self.bodies = BodyReader(MAX_BODY, budget, timeout)
        self.batcher = Batcher(self.device, Limits(32, 0, timeout, 10_000, 2**26), self.metrics)
        self.service.serve(MODEL, self.batcher)

    def answered(self, code: int) -> float:
        """Return how many inference requests got `code`, by the metrics."""
        text = self.metrics.expose("")[0].decode()
        found = re.findall(rf'modelpress_requests_total{{code="{code}",protocol="[^"]*"}} (\S+)', text)
        return sum(map(float, found))


class Site(Stand):
    """A server, and the requests that its application saw."""

    def __init__(self, budget: int = 4 * MAX_BODY, timeout: float = TIMEOUT) -> None:
        super().__init__(budget, timeout)
        self.app = App(self.service, self.bodies)
        self.app.add_model(MODEL)
        self.seen: list[str] = []
        self.port = 0
        self.server = uvicorn.Server(
            uvicorn.Config(
                self,
                http=fast_connections(self.app),
                ws="none",
                lifespan="off",
                log_config=None,
                server_header=False,
                port=0,
            )
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        await self.app(scope, receive, send)

    def later(self, seconds: float) -> None:
        """Let the connections look at a clock that is that much later."""
        sweep(self.server.server_state.connections, asyncio.get_running_loop().time() + seconds)


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

    async def ended(self) -> bool:
        return await self.reader.read() == b""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own limit ends what never holds."""
    while not condition():
        await asyncio.sleep(0.005)


def serve(
    test: Callable[[Site, Callable[[], Coroutine[Any, Any, Peer]]], Coroutine[Any, Any, None]], **options: Any
) -> None:
    """Run `test` with a site and a way to connect to it."""

    async def run() -> None:
        site = Site(**options)
        serving = asyncio.create_task(site.server.serve())
        while not site.server.started:
            await asyncio.sleep(0.005)
        site.port = site.server.servers[0].sockets[0].getsockname()[1]

        async def connect() -> Peer:
            return Peer(*await asyncio.open_connection("127.0.0.1", site.port))

        try:
            async with asyncio.timeout(60):
                await test(site, connect)
                while site.service.in_flight:  # refused senders are listened to for a while
                    await asyncio.sleep(0.01)
                assert site.bodies.held == 0
        finally:
            site.server.force_exit = site.server.should_exit = True
            await serving

    uvloop.run(run())
