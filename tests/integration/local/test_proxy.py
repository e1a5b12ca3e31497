"""The Service of local mode, between real sockets."""

import http.server
import threading
from collections.abc import Iterator

import httpx
import pytest

from modelpress.local.node.proxy import Proxy


class Backend:
    """A web server that answers with its name."""

    def __init__(self, name: str) -> None:
        self.arrived = threading.Semaphore(0)
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.arrived.release()
                if self.path == "/slow":
                    outer.released.wait(30)
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    made = [Backend("first"), Backend("second")]
    yield made
    for backend in made:
        backend.close()


@pytest.fixture
def ready() -> list[int]:
    return []


@pytest.fixture
def proxy(ready: list[int]) -> Iterator[Proxy]:
    made = Proxy(lambda: list(ready))
    yield made
    made.close()


def test_nobody_ready_is_503(proxy: Proxy) -> None:
    answer = httpx.get(proxy.url)
    assert (answer.status_code, answer.text) == (503, "no pod is ready.\n")


def test_connections_go_to_the_least_busy_pod(
    proxy: Proxy, ready: list[int], backends: list[Backend]
) -> None:
    ready += [backend.port for backend in backends]
    slow = threading.Thread(target=httpx.get, args=(f"{proxy.url}/slow",), kwargs={"timeout": 30})
    slow.start()
    assert backends[0].arrived.acquire(timeout=30)
    assert {httpx.get(proxy.url).text for _ in range(3)} == {"second"}
    backends[0].released.set()
    slow.join()


def test_new_connections_follow_readiness(proxy: Proxy, ready: list[int], backends: list[Backend]) -> None:
    ready.append(backends[0].port)
    assert httpx.get(proxy.url).text == "first"
    ready[:] = [backends[1].port]
    assert httpx.get(proxy.url).text == "second"


def test_a_pod_that_refuses_is_passed_over(proxy: Proxy, ready: list[int], backends: list[Backend]) -> None:
    gone = backends[0].port
    backends[0].close()
    ready += [gone, backends[1].port]
    assert {httpx.get(proxy.url).text for _ in range(4)} == {"second"}


def test_a_request_in_flight_ends_with_the_pod_that_took_it(
    proxy: Proxy, ready: list[int], backends: list[Backend]
) -> None:
    ready.append(backends[0].port)
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(httpx.get(f"{proxy.url}/slow", timeout=30).text))
    slow.start()
    assert backends[0].arrived.acquire(timeout=30)
    ready[:] = [backends[1].port]
    assert httpx.get(proxy.url).text == "second"
    backends[0].released.set()
    slow.join()
    assert answers == ["first"]


def test_a_taken_port_is_an_error(proxy: Proxy) -> None:
    with pytest.raises(OSError, match="address already in use"):
        Proxy(list, proxy.port)


def test_close_ends_open_connections(ready: list[int], backends: list[Backend]) -> None:
    ready.append(backends[0].port)
    proxy = Proxy(lambda: list(ready))
    with httpx.Client() as client:
        client.get(proxy.url)
        proxy.close()
        with pytest.raises(httpx.TransportError):
            client.get(proxy.url)
