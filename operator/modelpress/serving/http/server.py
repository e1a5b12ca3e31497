"""The HTTP front end of a worker: a listening socket and its connections, ended without losing a request.

At the end no further connections are taken; those that exist, and those that the kernel has queued, are
answered, and the server ends.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable

from modelpress.serving.drain import Drain
from modelpress.serving.exchange import Budget
from modelpress.serving.http.connection import Connection
from modelpress.serving.http.connections import ConnectionLimits, Connections, sweep
from modelpress.serving.http.routes import Routes
from modelpress.serving.service import Service

LIMITS = ConnectionLimits()
_LAST_CONNECTIONS_SECONDS = 1.0  # a connection that was just taken has so long to send its request
_SWEEP_SECONDS = 1.0
_STEP_SECONDS = 0.02
_PENDING = 2048  # connections that the kernel holds until they are taken


class HttpServer:
    """Serves one Service. Used from the event loop only."""

    def __init__(
        self,
        service: Service,
        budget: Budget,
        listener: socket.socket,
        limits: ConnectionLimits = LIMITS,
    ) -> None:
        self._service = service
        self._budget = budget
        listener.setblocking(False)
        self._listener = listener  # the loop gets a duplicate, so that this one outlives it
        self.routes = Routes(service)
        self.connections = Connections(limits, _is_loopback(listener))
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=self._listener.dup(), backlog=_PENDING)
        self._sweeping = loop.create_task(self._sweep())

    async def stop(self, drain: Drain, seconds: float) -> None:
        """Take no more connections, and answer on those that exist.

        Whoever takes longer than `seconds` for that, or to read the last answer, is cut off.
        """
        if self._server is not None:
            self._server.close()
            # The loop closes its copy of the socket a turn later: what comes until then waits here.
            await asyncio.sleep(_STEP_SECONDS)
        await _take_queued(self._listener, self._connect)
        if not drain.hurry:
            await self._wait(_LAST_CONNECTIONS_SECONDS, drain)
        self.connections.end()
        await self._wait(seconds, None)
        for connection in list(self.connections.open):
            connection.transport.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def _wait(self, seconds: float, drain: Drain | None) -> None:
        """Wait until no connection is left, or nobody may be waited for."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.connections.open and loop.time() < end and not (drain and drain.hurry):
            await asyncio.sleep(_STEP_SECONDS)

    async def _sweep(self) -> None:
        """End connections that wait too long, for as long as the server runs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.connections.tick()
            sweep(self.connections.open, loop.time())

    def _connect(self) -> Connection:
        return Connection(self.connections, self.routes, self._service, self._budget)


def _is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches a socket."""
    address = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
    return address.is_loopback


async def _take_queued(listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
    """Close a listening socket, after taking the connections that the kernel has queued for it.

    Closing alone would reset them, and their clients take them for connected.
    """
    queued = []
    with contextlib.suppress(BlockingIOError):
        while True:
            queued.append(listener.accept()[0])
    listener.close()
    for connection in queued:
        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
