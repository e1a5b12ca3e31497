"""A TLS front for a plain server: a private object store or registry whose authority nobody knows."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

_PIECE = 65536


@contextlib.contextmanager
def tls_front(target: int, certificate: Path, key: Path) -> Iterator[int]:
    """Listen with TLS on a free port of all addresses and pass all on to a loopback port; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("0.0.0.0", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, context, target), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # ends accept
        thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, target: int) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(plain, context, target), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, target: int) -> None:
    with (
        contextlib.suppress(OSError),  # of TLS, too: the client does not trust us
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(("127.0.0.1", target)) as server,
    ):
        back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
        back.start()
        _pass_on(client, server)
        back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
