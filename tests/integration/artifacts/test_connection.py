"""Every client of sources and stores trusts the operator-wide certificates and uses the operator-wide proxy.

Each download runs in a process of its own, as in a pod: libraries read the variables when they are imported.
"""

import contextlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import aiohttp
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.defaults import CaBundle, Defaults, Proxy
from modelpress.api.spec import Model, Spec
from modelpress.artifacts.sources import gs as gs_source
from modelpress.artifacts.sources.transfer import Transfer
from modelpress.planning.render import connection
from modelpress.planning.types import Observed, Settings
from modelpress.planning.view import View
from tests.support.cluster.certificates import Authority
from tests.support.servers.object_stores import Azure, Gcs
from tests.support.servers.servers import write_secret
from tests.support.servers.tls import tls_front

CONTENT = b"a model"
KINDS = ["web", "s3", "gcs", "azure", "hub", "registry"]
PATIENT = ("gcs", "azure")  # whose clients try a refused handshake again for a minute
# Linux reaches this machine under this address, too, and no client takes it for loopback, which needs no TLS.
HERE = "0.0.0.0"
_PROGRAM = """
import json, sys
from pathlib import Path
from modelpress.api.errors import ModelPressError
from modelpress.api.spec import Source
uri, secrets, target, plain_http = sys.argv[1:]
try:
    if uri.startswith("oci://"):
        from modelpress.artifacts.stores.base import open_store
        said = open_store(uri, plain_http_registry=plain_http or None).find("no-such-key")
    else:
        from modelpress.artifacts.sources.base import fetch
        found = fetch(Source(uri=uri), Path(target), secrets=Path(secrets), what="spec.model")
        said = found.path.read_text()
    print(json.dumps(["ok", said]))
except ModelPressError as error:
    print(json.dumps([error.reason, error.message]))
"""


class Place(NamedTuple):
    """A source or store that holds CONTENT."""

    uri: str
    secrets: dict[str, str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def variables(defaults: Defaults) -> dict[str, str]:
    observed = Observed({"metadata": {"name": "digits"}}, now=datetime.now(UTC))
    settings = Settings("compressor", "worker", "worker-gpu", "oci://registry/models", defaults=defaults)
    return connection.variables(View(observed, settings, Spec(model=Model(uri="s3://models/digits.keras"))))


def run(place: Place, folder: Path, environment: dict[str, str], plain_http: str = "") -> tuple[str, str]:
    """Return ("ok", content), or the reason and message of the error."""
    foreign = ("AWS_", "AZURE_", "GOOGLE_", "HF_", "SSL_", "REQUESTS_", "CURL_")
    base = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.upper().endswith("_PROXY")
    }
    secrets = write_secret(folder / "secrets", place.secrets)
    command = [sys.executable, "-c", _PROGRAM, place.uri, str(secrets), str(folder / "out"), plain_http]
    done = subprocess.run(
        command,
        env={**base, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    reason, said = json.loads(done.stdout.splitlines()[-1])
    return reason, said


def port_of(url: str) -> int:
    return int(url.rstrip("/").rpartition(":")[2].split("/")[0])


def plain_server(kind: str, value: Callable[[str], Any]) -> tuple[int, Callable[[str], Place]]:
    """Return the port of a server with CONTENT, and what it is under another root URL."""
    server = value(kind)
    if kind == "web":
        (server.folder / "model.keras").write_bytes(CONTENT)
        return port_of(server.url), lambda root: Place(f"{root}/model.keras", {})
    if kind == "registry":
        return port_of(server.host), lambda root: Place(f"oci://{root.partition('://')[2]}/models", {})
    if kind == "hub":
        server.files["team/models"] = {"model.keras": CONTENT}
        uri = "hf://team/models/model.keras"
        return port_of(server.endpoint), lambda root: Place(uri, {"HF_ENDPOINT": root})
    uri = server.put("private-ca/model.keras", CONTENT)
    if isinstance(server, Azure):
        signed = server.connection_string(f"AccountKey={server.key}")
        name = "AZURE_STORAGE_CONNECTION_STRING"
        return port_of(server.endpoint), lambda root: Place(
            uri,
            {
                name: signed.replace(server.endpoint, root).replace(
                    "Protocol=http;", f"Protocol={root.partition(':')[0]};"
                )
            },
        )
    if isinstance(server, Gcs):
        return port_of(server.endpoint), lambda root: Place(uri, {"STORAGE_EMULATOR_HOST": root})
    keys = {"AWS_ACCESS_KEY_ID": server.key_id, "AWS_SECRET_ACCESS_KEY": server.secret}
    return port_of(server.endpoint), lambda root: Place(
        uri, {**keys, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": root}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_authority_is_trusted_by_its_bundle_alone(
    kind: str, authority: Authority, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    certificate, key = authority.server(kind, [HERE])
    port, under = plain_server(kind, request.getfixturevalue)
    names = variables(Defaults(ca_bundle=CaBundle(config_map_name="trusted")))
    assert names
    with tls_front(port, certificate, key) as front:
        place = under(f"https://{HERE}:{front}")
        trusted = run(place, tmp_path / "trusted", dict.fromkeys(names, str(authority.certificate)))
        assert trusted == ("ok", None if kind == "registry" else CONTENT.decode())
        if kind not in PATIENT:
            reason, _ = run(place, tmp_path / "foreign", {})
            assert reason in ("SourceUnavailable", "StoreUnavailable")


def test_a_certificate_that_is_not_trusted_is_no_mistake_in_a_gs_uri(tmp_path: Path) -> None:
    connection_key: Any = SimpleNamespace(host="store.example.com", port=443, is_ssl=True)
    error = aiohttp.ClientConnectorCertificateError(
        connection_key, ssl.SSLCertVerificationError(1, "unknown")
    )
    transfer = Transfer("gs://models/digits.keras", None, tmp_path, "spec.model", connect_seconds=1)
    assert gs_source._explain(error, transfer, had_credential=False).reason is Reason.SOURCE_UNAVAILABLE


@contextlib.contextmanager
def run_refusing() -> Iterator[tuple[str, list[str], list[str]]]:
    """Run a server or proxy that refuses everything; yield its URL, the URLs asked for, and the headers."""
    asked: list[str] = []
    headers: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            headers.append(str(self.headers))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the tests' output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked, headers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("kind", KINDS)
def test_the_proxy_is_asked_for_all_but_what_is_named_as_direct(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port, under = plain_server(kind, request.getfixturevalue)
    with run_refusing() as (url, asked, _):
        environment = variables(Defaults(proxy=Proxy(http_proxy=url)))
        direct = run(under(f"http://127.0.0.1:{port}"), tmp_path / "direct", environment)
        assert direct == ("ok", None if kind == "registry" else CONTENT.decode())
        assert not asked
        run(under("http://store.invalid"), tmp_path / "outside", environment, "store.invalid")
    assert asked
    assert all(path.startswith("http://store.invalid/") for path in asked)


@pytest.mark.parametrize("empty", [None, "", "\n", "\r\n"])
@pytest.mark.parametrize(
    ("uri", "endpoint", "names"),
    [
        ("s3://bucket/m.keras", "AWS_ENDPOINT_URL", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        ("hf://owner/models/m.keras", "HF_ENDPOINT", ("HF_TOKEN",)),
    ],
)
def test_an_endpoint_without_a_credential_does_not_get_that_of_the_environment(
    uri: str, endpoint: str, names: tuple[str, ...], empty: str | None, tmp_path: Path
) -> None:
    values = {} if empty is None else dict.fromkeys(names, empty)
    mine = dict.fromkeys(names, "of-my-environment")
    with run_refusing() as (url, _, headers):
        reason, _ = run(Place(uri, {endpoint: url, **values}), tmp_path, mine)
    assert reason == "SourceUnauthorized"
    assert headers
    assert not [given for given in headers if "of-my" in given or "authorization:" in given.lower()]
