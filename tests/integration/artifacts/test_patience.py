"""Peers that cannot be reached yet, or never: by every client, against real servers behind a late port."""

import contextlib
import dataclasses
import http.server
import logging
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import MissingError, UnavailableError
from modelpress.api.spec import Source
from modelpress.artifacts import patience
from modelpress.artifacts.image import pack
from modelpress.artifacts.patience import attempts, patiently, reset, unreached
from modelpress.artifacts.sources import base as sources
from modelpress.artifacts.sources import gs as gs_source
from modelpress.artifacts.sources import http as http_source
from modelpress.artifacts.sources import s3 as s3_source
from modelpress.artifacts.sources.base import fetch
from modelpress.artifacts.sources.transfer import Transfer
from modelpress.artifacts.stores import client
from modelpress.artifacts.stores.base import open_store
from modelpress.artifacts.stores.client import RegistryClient
from tests.support.artifact_folders import KEY, contents, make
from tests.support.servers.gate import Gate, gate
from tests.support.servers.hub import Hub
from tests.support.servers.object_stores import Azure, Gcs
from tests.support.servers.servers import S3, Registry, Web, free_port, write_secret

CONTENT = b"a model\n" * 1000
BUDGET = patience.BUDGET_SECONDS


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    monkeypatch.setattr(patience, "BUDGET_SECONDS", BUDGET)
    for name in ("AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


class Opener(logging.Handler):
    """Opens a gate when a client has said so many times that it tries again."""

    def __init__(self, closed: Gate, times: int) -> None:
        super().__init__()
        self.gate, self.left = closed, times

    def emit(self, record: logging.LogRecord) -> None:
        self.left -= 1
        if not self.left:
            self.gate.open()


@contextlib.contextmanager
def late(server: str, times: int = 3) -> Iterator[Gate]:
    """Stand before a server with a port that is closed until the third attempt."""
    logger = logging.getLogger("modelpress.artifacts.patience")
    before = logger.level
    logger.setLevel(logging.INFO)
    with gate(server) as made:
        opener = Opener(made, times)
        logger.addHandler(opener)
        try:
            yield made
        finally:
            logger.removeHandler(opener)
            logger.setLevel(before)
    assert made.opened


def get(uri: str, folder: Path, secrets: Path | None = None) -> bytes:
    return fetch(Source(uri=uri), folder / "out", secrets=secrets, what="spec.model").path.read_bytes()


# a server that comes late


def test_http(web: Web, tmp_path: Path) -> None:
    (web.folder / "m.keras").write_bytes(CONTENT)
    with late(web.url) as closed:
        assert get(f"{closed.url}/m.keras", tmp_path) == CONTENT


def test_s3(s3: S3, tmp_path: Path) -> None:
    uri = s3.put("late/m.keras", CONTENT)
    with late(s3.endpoint) as closed:
        secrets = dataclasses.replace(s3, endpoint=closed.url).secrets(tmp_path / "secret")
        assert get(uri, tmp_path, secrets) == CONTENT


def test_azure(azure: Azure, tmp_path: Path) -> None:
    uri = azure.put("late/m.keras", CONTENT)
    with late(azure.endpoint) as closed:
        secrets = dataclasses.replace(azure, endpoint=closed.url).secrets(tmp_path / "secret")
        assert get(uri, tmp_path, secrets) == CONTENT


def test_the_hub_as_a_mock(hub: Hub, tmp_path: Path) -> None:
    hub.files["late/models"] = {"m.keras": CONTENT}
    with late(hub.endpoint, 1) as closed:
        secrets = write_secret(tmp_path / "secret", {"HF_ENDPOINT": closed.url, "HF_TOKEN": hub.token})
        assert get("hf://late/models/m.keras", tmp_path, secrets) == CONTENT


def test_google(gcs: Gcs, tmp_path: Path) -> None:
    uri = gcs.put("late/m.keras", CONTENT)
    with late(gcs.endpoint) as closed:
        secrets = write_secret(tmp_path / "secret", {"STORAGE_EMULATOR_HOST": closed.url})
        assert get(uri, tmp_path, secrets) == CONTENT


@pytest.mark.parametrize("first", ["push", "pull", "find"])
def test_the_registry(registry: Registry, tmp_path: Path, first: str) -> None:
    folder = make(tmp_path / "artifact")
    path = f"late-{uuid.uuid4().hex[:8]}"
    with pack(folder) as image, late(registry.host) as closed:
        store = open_store(f"oci://{closed.host}/{path}")
        if first != "push":
            open_store(f"oci://{registry.host}/{path}").push(image, KEY)
        if first == "find":
            assert store.find(KEY) == image.digest
        elif first == "push":
            assert store.push(image, KEY) == image.digest
        store.pull(image.digest, tmp_path / "pulled")
    assert contents(tmp_path / "pulled") == contents(folder)


# a server that stays away


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_peer_that_stays_away_is_given_up_after_the_budget() -> None:
    time, tried = Time(), []

    def refused(seconds: float) -> None:
        tried.append(seconds)
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(ConnectionRefusedError):
        patiently(refused, unreached, now=lambda: time.now, sleep=time.sleep)
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert sum(time.slept) <= BUDGET < sum(time.slept) + 2
    assert tried == [2.0, 4.0, *[8.0] * 7]
    assert tried == [attempt.connect_seconds for attempt, _ in zip(attempts(), tried, strict=False)]


def test_connecting_counts_too() -> None:
    time, tried = Time(), []

    def lost(seconds: float) -> None:
        tried.append(seconds)
        time.now += seconds
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(ConnectionRefusedError):
        patiently(lost, unreached, now=lambda: time.now, sleep=time.sleep)
    assert tried == [2.0, 4.0, 8.0]


def test_the_one_that_comes_back_is_not_asked_again() -> None:
    time, answers = Time(), [ConnectionRefusedError(111, "x"), OSError(113, "No route to host"), "here"]

    def action(_: float) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    assert patiently(action, unreached, now=lambda: time.now, sleep=time.sleep) == "here"
    assert answers == []


@pytest.fixture
def silent() -> Iterator[str]:
    """HOST:PORT of a listener that lets no connection come about: SYNs are dropped, its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def transfer(uri: str, tmp_path: Path, secrets: Path | None = None) -> Transfer:
    return Transfer(uri, secrets, tmp_path / "target", "spec.model", connect_seconds=0.5)


@pytest.mark.parametrize("kind", ["http", "s3", "registry"])
def test_a_connection_that_does_not_come_about_sent_nothing(
    kind: str, silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(patience, "_FIRST_CONNECT", 0.5)
    secrets = S3(f"http://{silent}").secrets(tmp_path / "secret")
    clients: dict[str, Callable[[], object]] = {
        "http": lambda: http_source.download(transfer(f"http://{silent}/m.keras", tmp_path)),
        "s3": lambda: s3_source.download(transfer("s3://bucket/m.keras", tmp_path, secrets)),
        "registry": lambda: RegistryClient(silent, plain_http=True, login=lambda: None).do_request(
            f"http://{silent}/v2/", "POST"
        ),
    }
    with pytest.raises(UnavailableError) as caught:
        clients[kind]()
    assert unreached(caught.value)


def test_a_name_server_that_does_not_answer_is_another_thing_than_a_name_that_is_not_known() -> None:
    assert unreached(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    assert not unreached(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))


# answers, and requests that arrived


def test_an_answer_is_never_asked_for_again(web: Web, tmp_path: Path) -> None:
    web.statuses["/m.keras"] = 503
    with pytest.raises(UnavailableError, match="503"):
        get(f"{web.url}/m.keras", tmp_path)
    with pytest.raises(MissingError):
        get(f"{web.url}/none.keras", tmp_path)
    assert len(web.seen) == 2


class Resetting:
    """Takes each connection, reads a piece of the request, and resets or ends the connection."""

    def __init__(self) -> None:
        self.hard = True  # else it is ended as usual, without an answer
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.requests.append(connection.recv(2**16).partition(b" ")[0])
                if self.hard:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def resetting() -> Iterator[Resetting]:
    made = Resetting()
    yield made
    made.close()


def test_a_request_that_writes_is_sent_once_and_one_that_reads_again(
    resetting: Resetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BUDGET_SECONDS", 1.0)
    made = RegistryClient(resetting.host, plain_http=True, login=lambda: None)
    for method in ("POST", "PUT", "GET"):
        with pytest.raises(UnavailableError) as caught:
            made.do_request(f"{made.url}/v2/", method, data=b"x" if method == "PUT" else None)
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert reset(caught.value)
        assert not unreached(caught.value)
    assert resetting.requests[:2] == [b"POST", b"PUT"]
    assert set(resetting.requests[2:]) == {b"GET"}
    assert len(resetting.requests) > 3


@pytest.mark.parametrize("store", ["s3", "gs"])
def test_a_library_connects_once_in_each_attempt(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, connections = Time(), []
    connect = aiohttp.BaseConnector.connect

    async def counted(*arguments: Any, **options: Any) -> Any:
        connections.append(arguments)
        return await connect(*arguments, **options)

    monkeypatch.setattr(aiohttp.BaseConnector, "connect", counted)

    def with_time(action: Callable[[float], Any], again: Callable[[Exception], bool]) -> Any:
        return patiently(action, again, now=lambda: time.now, sleep=time.sleep)

    monkeypatch.setattr(sources, "patiently", with_time)
    names = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
    secrets = write_secret(tmp_path / "secret", {names[store]: f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(UnavailableError):
        get(f"{store}://bucket/m.keras", tmp_path, secrets)
    assert len(time.slept) == 8
    requests = {"s3": 1, "gs": 2}[store]  # gcsfs asks for the object and for what is below it
    assert 9 <= len(connections) <= 9 * requests


def test_a_silent_google_is_named(silent: str, tmp_path: Path) -> None:
    secrets = write_secret(tmp_path / "secret", {"STORAGE_EMULATOR_HOST": f"http://{silent}"})
    with pytest.raises(UnavailableError, match=f"{silent}: timed out") as caught:
        gs_source.download(transfer("gs://bucket/m.keras", tmp_path, secrets))
    assert unreached(caught.value)


def test_a_source_that_resets_connections_is_asked_again(
    resetting: Resetting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BUDGET_SECONDS", 1.0)
    with pytest.raises(UnavailableError):
        get(f"http://{resetting.host}/m.keras", tmp_path)
    assert len(resetting.requests) > 2


@pytest.mark.parametrize("scheme", ["http", "hf"])
def test_a_source_that_ends_connections_without_an_answer_is_asked_again(
    resetting: Resetting,
    tmp_path: Path,
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    resetting.hard = False
    uri = "hf://owner/models/m.keras" if scheme == "hf" else f"http://{resetting.host}/m.keras"
    secrets = write_secret(tmp_path / "secret", {"HF_ENDPOINT": f"http://{resetting.host}"})
    monkeypatch.setattr(patience, "BUDGET_SECONDS", 1.0)
    with caplog.at_level(logging.INFO, "modelpress.artifacts.patience"), pytest.raises(UnavailableError):
        get(uri, tmp_path, secrets)
    assert "trying again" in caplog.text


@contextlib.contextmanager
def run_challenging(realm: str) -> Iterator[str]:
    """Run a registry that wants a token of the server at `realm` for everything; yield its HOST:PORT."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Www-Authenticate", f'Bearer realm="{realm}",service="registry"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the tests' output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("login", [None, ("user", "password")])
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "dropping"])
def test_a_token_server_that_does_not_answer_is_given_up(
    resetting: Resetting, monkeypatch: pytest.MonkeyPatch, login: tuple[str, str] | None, silent: bool
) -> None:
    monkeypatch.setattr(patience, "BUDGET_SECONDS", 0.5)
    monkeypatch.setattr(client, "_DEFAULT_SECONDS", (0.5, 0.5))
    resetting.hard = False
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel connects, and nobody reads
        host = f"127.0.0.1:{listener.getsockname()[1]}" if silent else resetting.host
        with run_challenging(f"http://{host}/token") as registry:
            made = RegistryClient(registry, plain_http=True, login=lambda: login)
            with pytest.raises(UnavailableError, match="timed out" if silent else None) as caught:
                made.do_request(f"{made.url}/v2/")
    assert caught.value.exit_code == 69
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


def test_a_port_that_is_closed_for_good_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BUDGET_SECONDS", 1.0)
    with pytest.raises(UnavailableError) as caught:
        get(f"http://127.0.0.1:{free_port()}/m.keras", tmp_path)
    assert caught.value.exit_code == 69
