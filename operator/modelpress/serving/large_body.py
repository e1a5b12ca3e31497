"""Receives the rest of a large body into one buffer.

As an ordinary protocol gets it, each part would be allocated and copied three times: by the transport, by the
parser, and into a whole. On an image of 602 KB that was five sixths of the worker's time.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

_ALIGNMENT = 16  # of what numpy allocates
LARGE_BYTES = 64 * 1024
# numpy asks for huge pages from here on, which a few bytes would make resident
LARGEST_BYTES = 4 * 1024 * 1024 - _ALIGNMENT


class LargeBody(asyncio.BufferedProtocol):
    """Takes the place of a connection's protocol until a body is complete."""

    def __init__(self, behind: Any, length: int, tensors: int, grown: Callable[[], None]) -> None:
        """Prepare for `length` bytes; `grown` is called when some have come, `behind` is the protocol before.

        Raw tensors follow the first `tensors` of them: they are aligned, so that the model's runtime need not
        copy them twice. The memory is not resident before bytes come.
        """
        self._behind = behind
        self._grown = grown
        skipped = -tensors % _ALIGNMENT
        self._view = memoryview(np.empty(skipped + length, np.uint8))[skipped:]  # type: ignore[arg-type]
        self._size = 0

    def take(self, transport: asyncio.Transport, first: memoryview) -> None:
        """Receive from now on; `first` has come already."""
        self._view[: len(first)] = first
        self._size = len(first)
        _switch(transport, self)

    def give_back(self, transport: asyncio.Transport) -> memoryview:
        """Let the protocol before receive again, and return what came."""
        _switch(transport, self._behind)
        return self._view[: self._size]

    @property
    def complete(self) -> bool:
        """Whether all has come."""
        return self._size == len(self._view)

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._size

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return what is still empty: what follows the body is left to the protocol before."""
        return self._view[self._size :]

    def buffer_updated(self, nbytes: int) -> None:
        """Note that bytes came."""
        self._size += nbytes
        self._grown()

    def eof_received(self) -> bool | None:
        """Tell the protocol before."""
        result: bool | None = self._behind.eof_received()
        return result

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol before."""
        self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the protocol before."""
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        """Tell the protocol before."""
        self._behind.resume_writing()


def _switch(transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
    """Change who receives; uvloop asks how a protocol wants its bytes only when it begins to read."""
    if transport.is_closing():
        return
    transport.pause_reading()
    transport.set_protocol(protocol)
    transport.resume_reading()
