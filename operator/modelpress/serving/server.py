"""Runs uvicorn around the application, and ends it without losing a request.

On SIGTERM readiness turns false at once, while new requests are still answered (each ends its connection):
load balancers and proxies learn of a pod's end a moment after the pod does. When no request came for a
while, no further connections are taken, those that exist are answered, and the server ends. SIGINT, or a
second signal, skips the waiting.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Generator

import uvicorn

from modelpress.serving.connection import sweep
from modelpress.serving.fast_path import fast_connections
from modelpress.serving.listening import take_queued
from modelpress.serving.protocols.app import App
from modelpress.serving.service import Phase, Service

_QUIET_SECONDS = 2.0  # without a request, after which callers have gone elsewhere
_MAX_LINGER_SECONDS = 10.0  # for callers that do not stop
_LAST_CONNECTIONS_SECONDS = 1.0  # for requests on connections that were just taken
_SWEEP_SECONDS = 1.0
_STEP_SECONDS = 0.02

logger = logging.getLogger(__name__)


class _Uvicorn(uvicorn.Server):
    """Leaves signals to HttpServer."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Install no handlers."""
        yield


class HttpServer:
    """One listening socket, one application, one event loop.

    Whoever takes longer than `last_seconds` to read its last answer is cut off.
    """

    def __init__(self, app: App, service: Service, listener: socket.socket, last_seconds: int) -> None:
        self._service = service
        listener.setblocking(False)
        self._listener = listener  # uvicorn gets a duplicate, so that this one outlives it
        self._hurry = False
        self._draining: asyncio.Task[None] | None = None
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=fast_connections(app),
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level=logging.WARNING,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=last_seconds,
            )
        )

    async def run(self) -> None:
        """Serve until `stop` or a signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        sweeping = loop.create_task(self._sweep())
        try:
            await self._server.serve([self._listener.dup()])
        finally:
            sweeping.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """End as soon as the requests in flight are answered."""
        self._server.should_exit = True

    async def _sweep(self) -> None:
        """End connections that wait too long, for as long as the server runs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            sweep(self._server.server_state.connections, loop.time())

    def _on_signal(self, number: int) -> None:
        logger.info("Draining after %s.", signal.Signals(number).name)
        self._service.phase = Phase.DRAINING
        if self._draining is None:
            self._hurry = number == signal.SIGINT
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self._hurry = True

    async def _drain(self) -> None:
        start = time.monotonic()
        while not self._hurry and not self._quiet(start):
            await asyncio.sleep(_STEP_SECONDS)
        if self._server.started:
            for server in self._server.servers:
                server.close()
            await take_queued(self._listener, self._protocol)
        deadline = time.monotonic() + _LAST_CONNECTIONS_SECONDS
        while self._server.server_state.connections and not self._hurry and time.monotonic() < deadline:
            await asyncio.sleep(_STEP_SECONDS)
        self.stop()

    def _protocol(self) -> asyncio.Protocol:
        config = self._server.config
        protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self._server.server_state, app_state={}
        )
        return protocol

    def _quiet(self, start: float) -> bool:
        now = time.monotonic()
        if now - start > _MAX_LINGER_SECONDS:
            return True
        return not self._service.in_flight and now - max(start, self._service.last_request) > _QUIET_SECONDS
