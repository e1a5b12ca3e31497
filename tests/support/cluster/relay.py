"""A relay of TCP connections that can be cut: the network between one client and the API server."""

import contextlib
import selectors
import socket
import threading
from typing import Self


class Relay:
    """Passes bytes on to a port of this machine until cut; a context manager."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def cut(self) -> None:
        """Close all connections, and each new one at once."""
        with self._lock:
            self._is_cut = True
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Let new connections through again."""
        with self._lock:
            self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, selectors.DefaultSelector() as ready:
            with self._lock:
                if self._is_cut:
                    return
                self._open |= {client, server}
            for ends in ((client, server), (server, client)):
                ready.register(ends[0], selectors.EVENT_READ, ends)
            with contextlib.suppress(OSError):
                while all(_moved(*key.data) for key, _ in ready.select()):
                    pass
            with self._lock:
                self._open -= {client, server}


def _moved(source: socket.socket, target: socket.socket) -> bool:
    """Pass on what has come; return whether more may come."""
    content = source.recv(65536)
    target.sendall(content)
    return bool(content)
