"""A loopback port that refuses connections until it is opened; then it passes them on to a server."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.support.servers.servers import free_port


class Gate:
    """Stands before one server, whose URL or HOST:PORT is given."""

    def __init__(self, server: str, address: str = "127.0.0.1") -> None:
        parts = urlsplit(server if "//" in server else f"//{server}")
        self._server = (parts.hostname, parts.port)
        self._address = (address, free_port())
        self.host = f"[{address}]:{self._address[1]}" if ":" in address else f"{address}:{self._address[1]}"
        self.url = f"http://{self.host}"
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Take connections from now on."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._listener = socket.create_server(self._address, family=family, backlog=64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @property
    def opened(self) -> bool:
        """Whether it takes connections."""
        return self._listener is not None

    def close(self) -> None:
        """Take no more."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                front = listener.accept()[0]
                back = socket.create_connection(self._server)
                for pair in ((front, back), (back, front)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(2**16):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def gate(server: str, address: str = "127.0.0.1") -> Iterator[Gate]:
    """Stand before a server; closed at first, and when the context ends."""
    made = Gate(server, address)
    try:
        yield made
    finally:
        made.close()
