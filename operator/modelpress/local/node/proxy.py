"""A Service of local mode: one loopback port whose connections go to ready pods, the least busy first."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from modelpress.local.node.environment import LOOPBACK

T = TypeVar("T")

_CHUNK = 2**16  # bytes
_CONNECT_SECONDS = 2.0
_NOBODY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: 17\r\n\r\nno pod is ready.\n"
)


class _Backend(NamedTuple):
    port: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Proxy:
    """Forwards TCP connections; runs in a thread of its own until closed."""

    def __init__(self, backends: Callable[[], Sequence[int]], port: int = 0) -> None:
        """Listen on `port` (0: any free one). `backends` returns the ports of the pods that are ready now.

        Raises OSError where the port is taken.
        """
        self._backends = backends
        self._busy: Counter[int] = Counter()
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        try:
            self._server = self._call(asyncio.start_server(self._accept, LOOPBACK, port))
        except OSError:
            self._end_loop()
            raise
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{LOOPBACK}:{self.port}"

    def close(self) -> None:
        """Stop listening and drop the connections that are still open."""
        self._call(self._shut())
        self._end_loop()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _shut(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            chosen = await self._connect()
            if chosen is None:
                writer.write(_NOBODY)
                await writer.drain()
            else:
                await self._forward(chosen, reader, writer)
        except ConnectionError:
            pass  # the client has gone
        finally:
            writer.close()

    async def _connect(self) -> _Backend | None:
        for port in sorted(self._backends(), key=lambda port: self._busy[port]):
            with contextlib.suppress(OSError, TimeoutError):
                connecting = asyncio.open_connection(LOOPBACK, port)
                return _Backend(port, *await asyncio.wait_for(connecting, _CONNECT_SECONDS))
        return None

    async def _forward(
        self, backend: _Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._busy[backend.port] += 1
        upward = asyncio.ensure_future(_copy(reader, backend.writer))
        try:
            await _copy(backend.reader, writer)  # a client that closes half may still read
        finally:
            upward.cancel()  # when the pod has closed, the client's bytes have nowhere to go
            self._busy[backend.port] -= 1
            backend.writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
