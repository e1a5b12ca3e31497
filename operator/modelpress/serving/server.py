"""Runs uvicorn around the application, and ends it without losing a request.

At the end no further connections are taken; those that exist, and those that the kernel has queued, are
answered, and the server ends.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator

import uvicorn

from modelpress.serving.connection import sweep
from modelpress.serving.drain import Drain
from modelpress.serving.fast_path import fast_connections
from modelpress.serving.listening import take_queued
from modelpress.serving.protocols.app import App

_LAST_CONNECTIONS_SECONDS = 1.0  # for requests on connections that were just taken
_SWEEP_SECONDS = 1.0
_STEP_SECONDS = 0.02


class _Uvicorn(uvicorn.Server):
    """Leaves signals to Drain."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Install no handlers."""
        yield


class HttpServer:
    """One listening socket, one application, one event loop.

    Whoever takes longer than `last_seconds` to read its last answer is cut off.
    """

    def __init__(self, app: App, listener: socket.socket, drain: Drain, last_seconds: int) -> None:
        listener.setblocking(False)
        self._listener = listener  # uvicorn gets a duplicate, so that this one outlives it
        self._drain = drain
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
        """Serve until `stop`."""
        sweeping = asyncio.get_running_loop().create_task(self._sweep())
        try:
            await self._server.serve([self._listener.dup()])
        finally:
            sweeping.cancel()

    async def stop(self) -> None:
        """Take no more connections, and let `run` end when those that exist are answered."""
        if self._server.started:
            for server in self._server.servers:
                server.close()
            await take_queued(self._listener, self._protocol)
        loop = asyncio.get_running_loop()
        end = loop.time() + _LAST_CONNECTIONS_SECONDS
        while self._server.server_state.connections and not self._drain.hurry and loop.time() < end:
            await asyncio.sleep(_STEP_SECONDS)
        self._server.should_exit = True

    async def _sweep(self) -> None:
        """End connections that wait too long, for as long as the server runs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            sweep(self._server.server_state.connections, loop.time())

    def _protocol(self) -> asyncio.Protocol:
        config = self._server.config
        protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=self._server.server_state, app_state={}
        )
        return protocol
