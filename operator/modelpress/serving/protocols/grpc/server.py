"""The gRPC front end of a worker: a listening socket and its connections, in the event loop beside HTTP."""

import asyncio
import socket

from modelpress.serving.exchange import Budget
from modelpress.serving.http.connections import sweep
from modelpress.serving.listening import take_queued
from modelpress.serving.protocols.grpc.calls import GrpcCalls
from modelpress.serving.protocols.grpc.http2 import Http2Connection
from modelpress.serving.protocols.grpc.lifetime import Connections
from modelpress.serving.protocols.grpc.limits import LIMITS, Http2Limits
from modelpress.serving.protocols.grpc.outbox import Backlog
from modelpress.serving.service import Phase, Service

_SWEEP_SECONDS = 1.0
_STEP_SECONDS = 0.02
_PENDING = 2048  # connections that the kernel keeps for us
_UNREAD_REQUESTS = 4  # so many times maxRequestBytes may wait for peers to read it
_MIN_UNREAD_BYTES = 64 * 2**20


class GrpcServer:
    """Serves one Service. Used from the event loop only."""

    def __init__(
        self, service: Service, bodies: Budget, listener: socket.socket, limits: Http2Limits = LIMITS
    ) -> None:
        self._service = service
        listener.setblocking(False)
        self._listener = listener  # the loop gets a duplicate, so that this one outlives it
        self.calls = GrpcCalls(service, bodies, limits.calls)
        backlog = Backlog(max(_MIN_UNREAD_BYTES, _UNREAD_REQUESTS * bodies.max_bytes))
        self.connections = Connections(limits, backlog)
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=self._listener.dup(), backlog=_PENDING)
        self._sweeping = loop.create_task(self._sweep())

    async def stop(self, seconds: float) -> None:
        """Take no more connections, send peers elsewhere, and answer what is in flight within `seconds`."""
        loop = asyncio.get_running_loop()
        if self._server is not None:
            self._server.close()
        await take_queued(self._listener, self._connect)
        for connection in list(self.connections):
            connection.leave()
        end = loop.time() + seconds
        while self.connections and loop.time() < end:
            await asyncio.sleep(_STEP_SECONDS)
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self.connections):
            connection.cut()

    def check(self, now: float) -> None:
        """End what waits too long; `now` is the loop's time."""
        self.calls.check(now)
        if self._service.phase is Phase.DRAINING:
            for connection in list(self.connections):
                connection.leave()
        sweep(self.connections, now)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.check(loop.time())

    def _connect(self) -> Http2Connection:
        return Http2Connection(self.calls, self.connections)
