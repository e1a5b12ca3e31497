"""What both kinds of store promise, against a real registry and a real layout directory."""

import hashlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, PermissionDenied, UnavailableError, UsageError
from modelpress.artifacts.image import pack
from modelpress.artifacts.manifest import load_verified
from modelpress.artifacts.stores.base import Store, open_store, renew_in_layout, unpack_layout
from tests.support.artifact_folders import KEY, contents, make
from tests.support.servers import needs
from tests.support.servers.binaries import binary
from tests.support.servers.gate import gate
from tests.support.servers.servers import Registry, docker_secret, free_port, run_registry
from tests.support.servers.token_server import run_token_server


@dataclass(frozen=True)
class Place:
    """A store and the file that holds each of its blobs."""

    store: Store
    blob: Callable[[str], Path]


@pytest.fixture(params=["registry", "layout"])
def place(request: pytest.FixtureRequest, registry: Registry, tmp_path: Path) -> Place:
    if request.param == "registry":
        return Place(open_store(f"oci://{registry.host}/{repository()}"), registry.blob)
    folder = tmp_path / "layout"
    return Place(
        open_store(folder.as_uri()), lambda digest: folder / "blobs/sha256" / digest.removeprefix("sha256:")
    )


def repository() -> str:
    return f"team/models-{uuid.uuid4().hex[:8]}"


def push(store: Store, folder: Path, key: str = KEY) -> str:
    with pack(folder) as image:
        assert store.push(image, key) == image.digest
        return image.digest


def unique(tmp_path: Path) -> Path:
    """An artifact whose blobs no other test has stored."""
    return make(tmp_path / "artifact", {"model.tflite": uuid.uuid4().bytes * 9000, "report.json": b"{}"})


def test_what_was_pushed_comes_back(place: Place, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    assert place.store.find(KEY) is None
    digest = push(place.store, folder)
    assert place.store.find(KEY) == digest
    place.store.pull(digest, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)
    load_verified(tmp_path / "out")


def test_nested_files_come_back(place: Place, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact", {"saved_model.pb": b"graph", "variables/variables.index": b"i"})
    place.store.pull(push(place.store, folder), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


def test_two_stores_give_the_same_digest(registry: Registry, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    remote = push(open_store(f"oci://{registry.host}/{repository()}"), folder)
    local = push(open_store((tmp_path / "layout").as_uri()), folder)
    assert remote == local


def test_a_key_that_shares_its_tag_with_another_is_not_found(place: Place, tmp_path: Path) -> None:
    push(place.store, make(tmp_path / "artifact"))
    similar = KEY[:40] + hashlib.sha256(b"other").hexdigest()[40:]
    assert place.store.find(similar) is None


def test_the_newer_artifact_of_a_key_is_found(place: Place, tmp_path: Path) -> None:
    old = push(place.store, make(tmp_path / "old", {"model.tflite": b"old"}))
    new = push(place.store, make(tmp_path / "new", {"model.tflite": b"new"}))
    assert place.store.find(KEY) == new
    place.store.pull(old, tmp_path / "out")
    assert (tmp_path / "out" / "model.tflite").read_bytes() == b"old"


@pytest.mark.parametrize("part", ["manifest", "config", "model layer", "last layer"])
def test_a_flipped_byte_is_refused(place: Place, tmp_path: Path, part: str) -> None:
    folder = unique(tmp_path)
    digest = push(place.store, folder)
    flip(place.blob(parts_of(folder)[part]))
    with pytest.raises(DataError) as caught:
        place.store.pull(digest, tmp_path / "out")
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert parts_of(folder)[part] in caught.value.message
    assert "digest" in caught.value.message  # noticed by the digest, before anything is parsed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["manifest", "config", "model layer", "last layer"])
def test_a_deleted_part_is_lost_and_not_found(place: Place, tmp_path: Path, part: str) -> None:
    folder = unique(tmp_path)
    digest = push(place.store, folder)
    place.blob(parts_of(folder)[part]).unlink()
    with pytest.raises(MissingError) as caught:
        place.store.pull(digest, tmp_path / "out")
    assert caught.value.reason is Reason.ARTIFACT_LOST
    assert place.store.find(KEY) is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["manifest", "config", "model layer"])
def test_a_lost_artifact_can_be_pushed_again(place: Place, tmp_path: Path, part: str) -> None:
    folder = unique(tmp_path)
    digest = push(place.store, folder)
    place.blob(parts_of(folder)[part]).unlink()
    assert push(place.store, folder) == digest
    place.store.pull(digest, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


def test_a_failed_pull_leaves_the_earlier_files(place: Place, tmp_path: Path) -> None:
    good = push(place.store, make(tmp_path / "good"))
    place.store.pull(good, tmp_path / "out")
    bad = unique(tmp_path)
    digest = push(place.store, bad)
    flip(place.blob(parts_of(bad)["model layer"]))
    before = contents(tmp_path / "out")
    with pytest.raises(DataError):
        place.store.pull(digest, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


def test_an_unknown_digest_is_lost(place: Place, tmp_path: Path) -> None:
    push(place.store, make(tmp_path / "artifact"))
    with pytest.raises(MissingError) as caught:
        place.store.pull(f"sha256:{'0' * 64}", tmp_path / "out")
    assert caught.value.reason is Reason.ARTIFACT_LOST


@pytest.mark.parametrize("digest", ["latest", "sha256:short", "sha256:../../../etc/passwd", ""])
def test_what_is_no_digest_is_refused(place: Place, tmp_path: Path, digest: str) -> None:
    with pytest.raises(DataError, match="is not a digest"):
        place.store.pull(digest, tmp_path / "out")


# the registry


def test_a_blob_that_is_there_is_not_sent_again(registry: Registry, tmp_path: Path) -> None:
    store = open_store(f"oci://{registry.host}/{repository()}")
    folder = unique(tmp_path)
    before = len(registry.requests("POST"))
    push(store, folder)
    assert len(registry.requests("POST")) == before + 3  # configuration and two layers
    push(store, folder)
    assert len(registry.requests("POST")) == before + 3


def test_a_damaged_blob_that_a_registry_keeps_is_reported_when_pushing(
    registry: Registry, tmp_path: Path
) -> None:
    store = open_store(f"oci://{registry.host}/{repository()}")
    folder = unique(tmp_path)
    push(store, folder)
    flip(registry.blob(parts_of(folder)["model layer"]))
    with pytest.raises(DataError) as caught:
        push(store, folder)
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


def test_another_oci_client_reads_the_artifact(registry: Registry, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    name = f"{registry.host}/{repository()}"
    digest = push(open_store(f"oci://{name}"), folder)
    needs.program("crane")
    crane = str(binary("crane"))

    def run(*arguments: str) -> bytes:
        return subprocess.run([crane, *arguments], check=True, capture_output=True, timeout=60).stdout

    assert run("digest", f"{name}:key-{KEY[:40]}").decode().strip() == digest
    run("validate", "--remote", f"{name}@{digest}")  # every digest, diff_id and size
    (tmp_path / "files.tar").write_bytes(run("export", f"{name}@{digest}", "-"))
    (tmp_path / "out").mkdir()
    shutil.unpack_archive(tmp_path / "files.tar", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


def test_a_layout_is_readable_by_another_oci_client(registry: Registry, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    digest = push(open_store((tmp_path / "layout").as_uri()), folder)
    name = f"{registry.host}/{repository()}"
    needs.program("crane")
    command = [str(binary("crane")), "push", str(tmp_path / "layout"), f"{name}:copied"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    open_store(f"oci://{name}").pull(digest, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


def test_a_registry_with_passwords_wants_the_right_one(protected_registry: Registry, tmp_path: Path) -> None:
    host = protected_registry.host
    uri = f"oci://{host}/{repository()}"
    folder = make(tmp_path / "artifact")
    store = open_store(uri, secrets=docker_secret(tmp_path / "right", host))
    store.pull(push(store, folder), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)
    for secrets, message in (
        (None, "no credential was given"),
        (docker_secret(tmp_path / "elsewhere", "other.example.com"), "no credential was given"),
        (docker_secret(tmp_path / "wrong", host, password="guessed"), "the credential is refused"),
    ):
        with pytest.raises(PermissionDenied, match=message) as caught:
            push(open_store(uri, secrets=secrets), folder)
        assert caught.value.reason is Reason.STORE_UNAUTHORIZED
        assert "guessed" not in caught.value.message


def test_a_registry_with_tokens_is_asked_for_each_scope(tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    with (
        run_token_server(tmp_path / "tokens") as tokens,
        run_registry(tmp_path / "registry", tokens.auth) as registry,
    ):
        uri = f"oci://{registry.host}/{repository()}"
        store = open_store(uri, secrets=docker_secret(tmp_path / "secret", registry.host))
        assert store.find(KEY) is None  # takes a token that may only pull
        digest = push(store, folder)
        store.pull(digest, tmp_path / "out")
        assert contents(tmp_path / "out") == contents(folder)
        assert any(scope.endswith(":pull") for scope in tokens.scopes)
        assert any("push" in scope for scope in tokens.scopes)
        anonymous = open_store(uri)
        anonymous.pull(digest, tmp_path / "anonymous")
        with pytest.raises(PermissionDenied, match="no credential was given"):
            push(anonymous, make(tmp_path / "other", {"model.tflite": b"other"}))
        wrong = open_store(uri, secrets=docker_secret(tmp_path / "wrong", registry.host, password="guessed"))
        with pytest.raises(PermissionDenied, match="the credential is refused"):
            push(wrong, folder)


def test_a_secret_that_is_no_docker_configuration_is_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / ".dockerconfigjson").write_text("{}")
    with pytest.raises(PermissionDenied, match="dockerconfigjson") as caught:
        open_store(f"oci://{registry.host}/models", secrets=tmp_path)
    assert caught.value.reason is Reason.STORE_UNAUTHORIZED


def test_a_registry_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    store = open_store(f"oci://127.0.0.1:{free_port()}/models")
    with pytest.raises(UnavailableError, match="Connection refused") as caught:
        store.find(KEY)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    with pytest.raises(UnavailableError):
        push(store, make(tmp_path / "artifact"))
    with pytest.raises(UnavailableError):
        store.pull(f"sha256:{'0' * 64}", tmp_path / "out")


def test_plain_http_is_spoken_only_to_loopback_and_the_named_registry(tmp_path: Path) -> None:
    from modelpress.artifacts.stores.client import speaks_plain_http

    named = "registry.modelpress.svc:5000"
    assert speaks_plain_http("127.0.0.1:5000", None)
    assert speaks_plain_http("localhost:5000", None)
    assert speaks_plain_http("[::1]:5000", None)
    assert speaks_plain_http(named, named)
    assert not speaks_plain_http("registry.modelpress.svc:5001", named)
    assert not speaks_plain_http("localhost.example.com", named)
    assert not speaks_plain_http("128.0.0.1:5000", None)


@pytest.mark.parametrize(
    "uri", ["oci://host", "http://host/models", "file://other/dir", "file:///", "models"]
)
def test_what_is_no_store_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="is not a store"):
        open_store(uri)


# the layout directory


def test_the_newest_artifact_of_a_layout_is_served(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    store = open_store(layout.as_uri())
    other = "d" * 64
    first = push(store, make(tmp_path / "a", {"model.tflite": b"a"}))
    second = push(store, make(tmp_path / "b", {"model.tflite": b"b"}, key=other), other)
    assert unpack_layout(layout, tmp_path / "out") == second
    push(store, make(tmp_path / "a2", {"model.tflite": b"a"}))
    assert unpack_layout(layout, tmp_path / "out") == first
    renew_in_layout(layout, second)
    assert unpack_layout(layout, tmp_path / "out") == second
    assert len(json.loads((layout / "index.json").read_text())["manifests"]) == 2


def test_a_layout_without_an_artifact_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="holds no artifact"):
        unpack_layout(tmp_path, tmp_path / "out")


def test_a_damaged_blob_of_a_layout_is_written_anew(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    folder = unique(tmp_path)
    store = open_store(layout.as_uri())
    digest = push(store, folder)
    flip(layout / "blobs/sha256" / parts_of(folder)["model layer"].removeprefix("sha256:"))
    push(store, folder)
    store.pull(digest, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"manifests": [1]}', '{"manifests": [{"digest": "x"}]}'])
def test_an_index_that_is_none_is_corrupt(tmp_path: Path, index: str) -> None:
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(DataError) as caught:
        unpack_layout(tmp_path, tmp_path / "out")
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        key = str(number) * 64
        folder = make(tmp_path / str(number), {"model.tflite": bytes([number])}, key)
        push(open_store((tmp_path / "layout").as_uri()), folder, key)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(write, range(10)))
    store = open_store((tmp_path / "layout").as_uri())
    assert all(store.find(str(number) * 64) for number in range(10))


def parts_of(folder: Path) -> dict[str, str]:
    with pack(folder) as image:
        config, model, last = (blob.descriptor.digest for blob in image.blobs)
        return {"manifest": image.digest, "config": config, "model layer": model, "last layer": last}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_registry_at_an_ipv6_address(registry: Registry, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    with gate(registry.host, "::1") as open_gate:
        open_gate.open()
        store = open_store(f"oci://{open_gate.host}/{repository()}")  # loopback: plain HTTP
        store.pull(push(store, folder), tmp_path / "pulled")
    assert contents(tmp_path / "pulled") == contents(folder)


@pytest.mark.parametrize("uri", ["oci://[::1/models", "oci://::1]/models", "oci://[::1]:5000"])
def test_half_an_address_is_no_store(uri: str) -> None:
    with pytest.raises(UsageError, match="is not a store"):
        open_store(uri)
