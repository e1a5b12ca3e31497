"""The reflector against a stand-in for the API server, which can do what a real one cannot be made to do."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes import client

from modelpress.controllers import reflector as module
from modelpress.controllers.reflector import Reflector
from modelpress.controllers.resources import POD
from modelpress.controllers.rest import Rest
from modelpress.controllers.store import Store
from modelpress.planning.types import Key

Json = dict[str, Any]


def pod(name: str, version: int) -> Json:
    labels = {"modelpress.dev/name": "digits"}
    metadata = {"name": name, "namespace": "shop", "uid": name, "labels": labels}
    return {"metadata": {**metadata, "resourceVersion": str(version)}}


def error(code: int) -> Json:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "told by the stream"}}


class Server:
    """Pods, and what the next watches do: a list of events, of bytes, or of a status of HTTP."""

    def __init__(self) -> None:
        self.pods = [pod("a", 1), pod("b", 2)]
        self.version = 2
        self.watches: list[Any] = []
        self.asked: list[dict[str, list[str]]] = []

    def lists(self) -> int:
        """Return how many lists were asked for."""
        return sum("watch" not in query for query in self.asked)

    def resumed(self) -> list[str]:
        """Return from which versions watches began."""
        return [query["resourceVersion"][0] for query in self.asked if "watch" in query]


def handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            server.asked.append(query)
            if "watch" in query:
                self.stream(server.watches.pop(0) if server.watches else [])
            else:
                metadata = {"resourceVersion": str(server.version)}
                self.whole(200, json.dumps({"metadata": metadata, "items": server.pods}).encode())

        def whole(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stream(self, script: Any) -> None:
            if isinstance(script, int):
                self.whole(script, json.dumps({"code": script, "message": "refused"}).encode())
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in script:
                line = event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            if not script or isinstance(script[-1], bytes):
                time.sleep(0.3)  # silent, or cut in the middle
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def server() -> Server:
    return Server()


@dataclass(frozen=True)
class Watched:
    """A reflector that has not begun: the test first says what happens."""

    store: Store
    begin: Callable[[], None]

    def shown(self) -> dict[str, int]:
        """Return the versions of the pods in the store."""
        return {name: entry.version for name, (_, entry) in self.store.all_of("Pod").items()}


@pytest.fixture
def watched(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(module, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.1)
    store, stopped = Store(), threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(server)) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        rest = Rest(client.Configuration(host=f"http://127.0.0.1:{listening.server_port}"))
        reflector = Reflector(rest, POD, None, store, threading.Lock())
        thread = threading.Thread(target=reflector.run, args=(lambda key: None, stopped), daemon=True)
        yield Watched(store, thread.start)
        stopped.set()
        thread.join(10)
        listening.shutdown()
    assert not thread.is_alive()


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_events_of_a_stand_in_change_the_store_and_the_next_watch_goes_on_from_the_last(
    server: Server, watched: Watched
) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
    server.watches = [
        [
            {"type": "ADDED", "object": pod("c", 3)},
            {"type": "MODIFIED", "object": pod("a", 4)},
            {"type": "DELETED", "object": pod("b", 5)},
            bookmark,
        ]
    ]
    watched.begin()
    until(lambda: watched.shown() == {"a": 4, "c": 3})
    until(lambda: server.resumed()[:2] == ["2", "9"])
    assert server.lists() == 1


@pytest.mark.parametrize(
    "fault", [[error(429)], [error(500)], 429, 500, 503, [b'{"type": "ADD'], [b"no JSON\n"]]
)
def test_after_a_fault_of_a_stand_in_the_watch_goes_on_from_where_it_was(
    server: Server, watched: Watched, fault: Any
) -> None:
    server.watches = [
        [{"type": "ADDED", "object": pod("c", 3)}],
        fault,
        [{"type": "DELETED", "object": pod("a", 4)}],
    ]
    watched.begin()
    until(lambda: watched.shown() == {"b": 2, "c": 3})
    assert server.resumed()[:3] == ["2", "3", "3"]
    assert server.lists() == 1


@pytest.mark.parametrize("gone", [[error(410)], 410])
def test_a_version_that_a_stand_in_no_longer_has_leads_to_a_list_without_ghosts(
    server: Server, watched: Watched, gone: Any
) -> None:
    server.watches = [gone]
    watched.begin()
    until(lambda: watched.shown() == {"a": 1, "b": 2})
    server.pods, server.version = [pod("b", 2), pod("d", 7)], 7
    server.watches = [gone, []]
    until(lambda: watched.shown() == {"b": 2, "d": 7})
    until(lambda: "7" in server.resumed())  # the store is told of a list before the next watch begins


def test_a_stand_in_that_fails_again_and_again_is_listed_anew(server: Server, watched: Watched) -> None:
    server.watches = [500, 500, 500]
    watched.begin()
    until(lambda: server.lists() == 2)
    assert server.resumed()[:3] == ["2", "2", "2"]


def test_a_silent_stand_in_is_asked_again(server: Server, watched: Watched) -> None:
    watched.begin()
    until(lambda: len(server.resumed()) >= 3)
    assert server.lists() == 1
    assert watched.store.owner_of("a") == Key("shop", "digits")
