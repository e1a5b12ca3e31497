"""The end of a listening socket."""

import asyncio
import contextlib
import socket
from collections.abc import Callable


async def take_queued(listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
    """Close a listening socket, after taking the connections that the kernel has queued for it.

    Closing alone would reset them, and their callers have been told that they are connected.
    """
    queued = []
    with contextlib.suppress(BlockingIOError):
        while True:
            queued.append(listener.accept()[0])
    listener.close()
    for connection in queued:
        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
