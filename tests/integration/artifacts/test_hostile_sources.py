"""Web servers that send for ever, too much, what nobody asked for, or on to the own network.

A server on loopback stands for one of the internet as a proxy does: its address is not known to who asks it.
"""

import asyncio
import gzip
import hashlib
import socket
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from modelpress.api.conditions import Reason
from modelpress.api.contract import DOWNLOADS, Downloads
from modelpress.api.errors import DataError, ModelPressError, UnavailableError, UsageError
from modelpress.api.spec import Source
from modelpress.artifacts.sources import limits
from modelpress.artifacts.sources.base import Fetched, fetch
from modelpress.artifacts.sources.redirects import RedirectGuard, is_public
from tests.support.servers.servers import S3, Web, run_web

CONTENT = b"a model\n" * 1000
PUBLIC = "http://public.example/m.keras"


def get(uri: str, target: Path, secrets: Path | None = None) -> Fetched:
    return fetch(Source(uri=uri), target, secrets=secrets, what="spec.model")


def refusal(
    kind: type[ModelPressError], uri: str, target: Path, secrets: Path | None = None
) -> ModelPressError:
    """Fetch, expect an error and that nothing stays."""
    with pytest.raises(kind) as caught:
        get(uri, target, secrets)
    assert list(target.iterdir()) == []
    assert caught.value.message.isprintable()
    return caught.value


@pytest.fixture
def public(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """The server as a proxy, which is asked for all hosts but those of this machine."""
    monkeypatch.setenv("HTTP_PROXY", web.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    return web


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
def test_a_redirect_from_a_public_address_to_a_private_one_is_refused(
    tmp_path: Path, public: Web, host: str
) -> None:
    with run_web(tmp_path / "inside") as inside:
        port = inside.url.rpartition(":")[2]
        public.redirects[PUBLIC] = f"http://{host}:{port}/secret"
        error = refusal(UsageError, PUBLIC, tmp_path / "out")
        assert inside.seen == []
    assert error.reason is Reason.INVALID_SPEC
    assert "downloads.allowPrivateRedirects" in error.message
    assert "sends on to " in error.message


def test_a_redirect_by_way_of_another_public_address_is_refused_as_well(tmp_path: Path, public: Web) -> None:
    public.redirects[PUBLIC] = "http://another.example/m.keras"
    public.redirects["http://another.example/m.keras"] = "http://localhost:1/secret"
    assert "sends on to localhost" in refusal(UsageError, PUBLIC, tmp_path / "out").message


def test_the_operator_may_allow_it(tmp_path: Path, public: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DOWNLOADS, Downloads(allow_private_redirects=True).model_dump_json(by_alias=True))
    with run_web(tmp_path / "inside") as inside:
        (inside.folder / "m.keras").write_bytes(CONTENT)
        public.redirects[PUBLIC] = f"{inside.url}/m.keras"
        assert get(PUBLIC, tmp_path / "out").path.read_bytes() == CONTENT


def test_a_redirect_among_public_addresses_and_among_private_ones_is_followed(
    tmp_path: Path, public: Web
) -> None:
    (public.folder / "m.keras").write_bytes(CONTENT)
    public.redirects[PUBLIC] = "http://another.example/m.keras"
    (public.folder / "http:/another.example").mkdir(parents=True)
    (public.folder / "http:/another.example/m.keras").write_bytes(CONTENT)
    public.redirects["/moved.keras"] = f"{public.url.replace('127.0.0.1', 'localhost')}/m.keras"
    assert get(f"{public.url}/moved.keras", tmp_path / "private").path.read_bytes() == CONTENT
    assert get(PUBLIC, tmp_path / "out").path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("address", "public_one"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("172.16.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
    ],
)
def test_an_address_is_public_or_not(address: str, public_one: bool) -> None:
    assert is_public(address) is public_one


def test_what_a_server_packs_unasked_is_stored_as_it_comes(tmp_path: Path, web: Web) -> None:
    packed = gzip.compress(bytes(50_000_000))
    (web.folder / "m.keras").write_bytes(packed)
    web.encodings["/m.keras"] = "gzip"
    fetched = get(f"{web.url}/m.keras", tmp_path / "out")
    assert fetched.path.stat().st_size == len(packed) < 100_000
    assert fetched.sha256 == hashlib.sha256(packed).hexdigest()


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read(tmp_path: Path, web: Web) -> None:
    web.lengths["/m.keras"] = 16 * 2**30 + 1
    error = refusal(DataError, f"{web.url}/m.keras", tmp_path / "out")
    assert error.reason is Reason.INVALID_MODEL
    assert error.message == f"spec.model: {web.url}/m.keras: is larger than 16 GiB"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the greatest size of a model to 1 MiB in place of 16 GiB, which no test sends."""
    monkeypatch.setattr(limits, "of", lambda _, shown: limits.Limits(shown, 2**20, Reason.INVALID_MODEL))


@pytest.mark.usefixtures("small")
def test_an_answer_without_an_end_is_ended_at_the_limit(tmp_path: Path, web: Web) -> None:
    web.endless["/m.keras"] = 0.0
    error = refusal(DataError, f"{web.url}/m.keras", tmp_path / "out")
    assert error.reason is Reason.INVALID_MODEL


@pytest.mark.usefixtures("small")
def test_objects_and_files_beyond_the_limit_are_refused(tmp_path: Path, s3: S3) -> None:
    secrets = s3.secrets(tmp_path / "secret")
    for part in ("a", "b"):
        s3.put(f"large/saved/{part}", bytes(2**19 + 1))
    refusal(DataError, "s3://large/saved/", tmp_path / "out", secrets)
    (tmp_path / "m.keras").write_bytes(bytes(2**20 + 1))
    refusal(DataError, (tmp_path / "m.keras").as_uri(), tmp_path / "out2")


def test_a_download_that_takes_too_long_is_ended(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "settings", lambda: Downloads.model_construct(max_seconds=1))
    web.endless["/m.keras"] = 0.01
    error = refusal(UnavailableError, f"{web.url}/m.keras", tmp_path / "out")
    assert error.reason is Reason.SOURCE_UNAVAILABLE
    assert "took longer than 1 seconds" in error.message


@pytest.mark.parametrize(
    "text", ["{", '{"maxSeconds":1}', '{"maxSecond":60}', '{"allowPrivateRedirects":"yes"}']
)
def test_settings_that_nobody_knows_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(DOWNLOADS, text)
    with pytest.raises(UsageError, match=f"{DOWNLOADS}: "):
        get((tmp_path / "m.keras").as_uri(), tmp_path / "out")


class _Names(AbstractResolver):
    """Addresses made up by the test, in place of a name server."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.addresses[host]
        return [ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("origin", "inside", "refused"),
    [
        ("93.184.216.34", "10.0.0.1", True),
        ("93.184.216.34", "93.184.216.35", False),
        ("10.0.0.2", "10.0.0.1", False),
    ],
)
def test_with_made_up_names_an_address_is_looked_at_when_it_is_connected_to(
    origin: str, inside: str, refused: bool
) -> None:
    async def redirected() -> None:
        guard = RedirectGuard("http://origin/m.keras", "spec.model", _Names(origin=origin, inside=inside))
        await guard.resolve("origin")
        guard.follow("inside")
        await guard.resolve("inside")

    if not refused:
        asyncio.run(redirected())
        return
    with pytest.raises(UsageError, match=r"sends on to inside, which is 10\.0\.0\.1"):
        asyncio.run(redirected())


def test_with_made_up_names_a_host_that_gets_another_address_meanwhile_is_refused() -> None:
    async def redirected() -> None:
        names = _Names(origin="93.184.216.34")
        guard = RedirectGuard("http://origin/m.keras", "spec.model", names)
        await guard.resolve("origin")
        guard.follow("origin")
        names.addresses["origin"] = "127.0.0.1"
        await guard.resolve("origin")

    with pytest.raises(UsageError, match=r"sends on to origin, which is 127\.0\.0\.1"):
        asyncio.run(redirected())
