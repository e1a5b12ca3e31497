"""Real servers for tests: an OCI registry, an S3 server and a web server, each on a free loopback port.

Functions are context managers. A conftest.py turns them into fixtures with
`from tests.support.servers.servers import *`: `registry`, `protected_registry`, `s3`, `web`.
"""

import base64
import contextlib
import functools
import http.server
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import s3fs
import yaml

from tests.support.servers import needs
from tests.support.servers.binaries import binary

__all__ = ["protected_registry", "registry", "s3", "web"]

USER, PASSWORD = "tester", "only-for-tests"
_BCRYPT = "$2b$04$abcdefghijklmnopqrstuuSOASZ5gFdIXxQU/MI4albXfVKBHc6R2"  # of PASSWORD
_START_SECONDS = 60


@dataclass(frozen=True)
class Registry:
    """A running registry; `host` is host:port and `storage` the folder with its blobs."""

    host: str
    storage: Path
    log: Path

    def blob(self, digest: str) -> Path:
        """The file that holds a blob."""
        name = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def requests(self, method: str) -> list[str]:
        """The paths of all requests of one method so far."""
        marker = f'"{method} '
        lines = self.log.read_text().splitlines()
        return [line.split(marker, 1)[1].split(" ", 1)[0] for line in lines if marker in line]


@dataclass(frozen=True)
class S3:
    """A running S3 server that takes only requests signed with its key."""

    endpoint: str
    key_id: str = "test-key-id"
    secret: str = "test-secret-key"

    def client(self) -> s3fs.S3FileSystem:
        """A client with the right key."""
        return s3fs.S3FileSystem(
            key=self.key_id, secret=self.secret, endpoint_url=self.endpoint, skip_instance_cache=True
        )

    def put(self, path: str, content: bytes) -> str:
        """Store an object at bucket/key, making the bucket; return its URI."""
        client = self.client()
        if not client.exists(path.split("/", 1)[0]):
            client.mkdir(path.split("/", 1)[0])
        client.pipe_file(path, content)
        return f"s3://{path}"

    def secrets(self, folder: Path, **changes: str) -> Path:
        """Write the files of a Secret with this server's credentials; an empty change leaves a key out."""
        values = {
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }
        return write_secret(folder, {**values, **changes})


@dataclass
class Web:
    """A running web server of a folder; `seen` has (path, Authorization header) of each request."""

    url: str
    folder: Path
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    authorization: str | None = None  # what each request must send
    redirects: dict[str, str] = field(default_factory=dict)  # path -> location
    statuses: dict[str, int] = field(default_factory=dict)  # path -> status of a server in trouble
    cut: set[str] = field(default_factory=set)  # paths whose body ends too early
    endless: dict[str, float] = field(default_factory=dict)  # path -> seconds between pieces, without an end
    encodings: dict[str, str] = field(default_factory=dict)  # path -> Content-Encoding that nobody asked for
    lengths: dict[str, int] = field(
        default_factory=dict
    )  # path -> Content-Length of a body that ends too early


def write_secret(folder: Path, values: dict[str, str]) -> Path:
    """Write one file for each key that has a value, as a mounted Secret; return `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in values.items():
        if value:
            (folder / key).write_text(value)
    return folder


def docker_secret(folder: Path, host: str, user: str = USER, password: str = PASSWORD) -> Path:
    """Write the Secret that `kubectl create secret docker-registry` makes; return `folder`."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    entry = {"username": user, "password": password, "auth": auth}
    return write_secret(folder, {".dockerconfigjson": json.dumps({"auths": {host: entry}})})


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def run_registry(
    folder: Path, auth: dict[str, object] | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Registry]:
    """Run the CNCF distribution registry with its data in `folder`.

    `auth` is a part of its configuration; `settings` are variables that go before it.
    """
    needs.program("registry")
    port = free_port()
    config = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}, "level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "only-for-tests"},
    }
    if auth:
        config["auth"] = auth
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    command = [str(binary("registry")), "serve", str(folder / "config.yml")]
    log = folder / "log"
    with log.open("w") as output:
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none", **(settings or {})}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        with running(process):
            wait(process, f"http://127.0.0.1:{port}/v2/", log)
            yield Registry(f"127.0.0.1:{port}", folder / "data", log)


def htpasswd(folder: Path) -> dict[str, object]:
    """Return the `auth` section that lets only USER with PASSWORD in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
    return {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}


@contextlib.contextmanager
def run_s3(folder: Path) -> Iterator[S3]:
    """Run an empty S3 server."""
    needs.program("s3server")
    server = S3(f"http://127.0.0.1:{free_port()}")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    address = server.endpoint.removeprefix("http://")
    with log.open("w") as output:
        command = [str(binary("s3server")), address, server.key_id, server.secret]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        with running(process):
            wait(process, server.endpoint, log)
            yield server


@contextlib.contextmanager
def run_web(folder: Path) -> Iterator[Web]:
    """Serve the files of `folder` over HTTP."""
    folder.mkdir(parents=True, exist_ok=True)
    web_server = Web("", folder)
    handler = functools.partial(_Handler, web_server, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web_server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web_server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that lets everybody in."""
    with run_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def protected_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that lets only USER with PASSWORD in (htpasswd, the Basic scheme)."""
    folder = tmp_path_factory.mktemp("registry")
    with run_registry(folder, htpasswd(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server; each test uses its own bucket."""
    with run_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A web server of the folder `tmp_path/www`."""
    with run_web(tmp_path / "www") as server:
        yield server


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, web_server: Web, *arguments: object, directory: str) -> None:
        self.web = web_server
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.web.seen.append((self.path, self.headers.get("Authorization")))
        if self.web.authorization and self.headers.get("Authorization") != self.web.authorization:
            self.send_error(401)
        elif self.path in self.web.redirects:
            self.send_response(302)
            self.send_header("Location", self.web.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path in self.web.statuses:
            self.send_error(self.web.statuses[self.path])
        elif self.path in self.web.endless:
            self._send_without_end(self.web.endless[self.path])
        elif self.path in self.web.lengths:
            self.send_response(200)
            self.send_header("Content-Length", str(self.web.lengths[self.path]))
            self.end_headers()
        elif self.path in self.web.cut:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"only the beginning")
        else:
            super().do_GET()

    def _send_without_end(self, pause: float) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while True:
                self.wfile.write(bytes(2**16))
                time.sleep(pause)

    def end_headers(self) -> None:
        if self.path in self.web.encodings:
            self.send_header("Content-Encoding", self.web.encodings[self.path])
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the tests' output clean."""


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a server when the context ends."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a server answers, whatever it says."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {log.read_text()[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, trust_env=False)
            return
        time.sleep(0.05)
    raise RuntimeError(f"{url} does not answer: {log.read_text()[-2000:]}")
