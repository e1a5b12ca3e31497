"""gs://, az:// and hf:// sources: against fake-gcs-server, Azurite and a mock of the Hugging Face Hub."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, PermissionDenied, UnavailableError, UsageError
from modelpress.api.spec import Source
from modelpress.artifacts.credentials import az_connection
from modelpress.artifacts.digests import directory_sha256
from modelpress.artifacts.sources.base import Fetched, fetch
from tests.support.artifact_folders import contents
from tests.support.servers.hub import Hub
from tests.support.servers.object_stores import Azure, Gcs
from tests.support.servers.servers import Web, free_port, write_secret

CONTENT = b"a model\n" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def get(uri: str, target: Path, sha256: str | None = None, secrets: Path | None = None) -> Fetched:
    return fetch(Source(uri=uri, sha256=sha256), target, secrets=secrets, what="spec.model")


@dataclass(frozen=True)
class Store:
    """One of the three: how an object gets there, and the Secret that reads it."""

    put: Callable[[str, bytes], str]
    secrets: Callable[[Path], Path]


@pytest.fixture(params=["gcs", "azure", "hub"])
def store(request: pytest.FixtureRequest) -> Store:
    server: Any = request.getfixturevalue(request.param)
    if isinstance(server, Hub):

        def put(path: str, content: bytes) -> str:
            owner, name = path.split("/", 1)
            server.files.setdefault(f"{owner}/models", {})[name] = content
            return f"hf://{owner}/models/{name}"

        def secrets(folder: Path) -> Path:
            return write_secret(folder, {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": server.token})

        return Store(put, secrets)
    return Store(server.put, server.secrets)


@pytest.fixture(autouse=True)
def nothing_ambient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take credentials of this machine away."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "GOOGLE_", "HF_", "STORAGE_EMULATOR")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))


def test_an_object_arrives_with_its_sha256(tmp_path: Path, store: Store) -> None:
    uri = store.put("files/team/m.keras", CONTENT)
    before = dict(os.environ)
    fetched = get(uri, tmp_path / "out", SHA256, store.secrets(tmp_path / "secret"))
    assert fetched.sha256 == SHA256
    assert fetched.path.name == "m.keras"
    assert fetched.path.read_bytes() == CONTENT
    assert dict(os.environ) == before


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_objects_below_a_prefix_arrive_as_a_directory(tmp_path: Path, store: Store, slash: str) -> None:
    store.put("trees/saved/saved_model.pb", b"graph")
    store.put("trees/saved/variables/variables.index", b"index")
    other = store.put("trees/saved-too/other.pb", b"other")
    uri = other.replace("saved-too/other.pb", f"saved{slash}")
    fetched = get(uri, tmp_path / "out", secrets=store.secrets(tmp_path / "secret"))
    assert contents(fetched.path) == {"saved_model.pb": b"graph", "variables/variables.index": b"index"}
    assert fetched.sha256 == directory_sha256(fetched.path)


@pytest.mark.parametrize("name", ["none.keras", "none/"])
def test_what_is_missing_is_not_found(tmp_path: Path, store: Store, name: str) -> None:
    there = store.put("missing/there.keras", CONTENT)
    with pytest.raises(MissingError) as caught:
        get(there.replace("there.keras", name), tmp_path / "out", secrets=store.secrets(tmp_path / "secret"))
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("uri", ["gs://no-such-bucket/m.keras", "az://no-such-container/m.keras"])
def test_a_bucket_that_is_missing_is_not_found(tmp_path: Path, gcs: Gcs, azure: Azure, uri: str) -> None:
    secrets = (gcs if uri.startswith("gs") else azure).secrets(tmp_path / "secret")
    with pytest.raises(MissingError):
        get(uri, tmp_path / "out", secrets=secrets)


def test_a_wrong_pin_leaves_nothing(tmp_path: Path, store: Store) -> None:
    uri = store.put("pinned/m.keras", CONTENT)
    with pytest.raises(DataError, match=SHA256) as caught:
        get(uri, tmp_path / "out", "0" * 64, store.secrets(tmp_path / "secret"))
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert contents(tmp_path / "out") == {}


def test_progress_is_told_to_the_last_byte(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytes(range(256)) * 100_000  # 25.6 MB
    uri = store.put("large/m.tar.gz", content)
    with caplog.at_level(logging.INFO):
        fetched = get(uri, tmp_path / "out", secrets=store.secrets(tmp_path / "secret"))
    assert fetched.sha256 == hashlib.sha256(content).hexdigest()
    steps = [record.progress for record in caplog.records if hasattr(record, "progress")]
    assert steps[-1] == {"step": "download spec.model", "done": len(content), "total": len(content)}
    assert [step["done"] for step in steps] == sorted({step["done"] for step in steps})


@pytest.mark.parametrize("uri", ["gs://bucket/m.keras", "az://container/m.keras", "hf://owner/m/m.keras"])
def test_a_server_that_does_not_answer_is_unavailable(
    tmp_path: Path, azure: Azure, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    without_waiting(monkeypatch)
    nobody = f"http://127.0.0.1:{free_port()}"
    elsewhere = Azure(nobody, azure.account, azure.key).connection_string(f"AccountKey={azure.key}")
    secrets = write_secret(
        tmp_path / "secret",
        {
            "STORAGE_EMULATOR_HOST": nobody,
            "HF_ENDPOINT": nobody,
            "AZURE_STORAGE_CONNECTION_STRING": elsewhere,
        },
    )
    with pytest.raises(UnavailableError) as caught:
        get(uri, tmp_path / "out", secrets=secrets)
    assert caught.value.reason is Reason.SOURCE_UNAVAILABLE
    assert azure.key not in caught.value.message


def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the waits between the clients' retries away."""
    import time

    import gcsfs.retry
    from azure.storage.blob._shared.policies_async import AsyncStorageRetryPolicy

    async def at_once(*arguments: Any, **settings: Any) -> None:
        pass

    class Asyncio:
        sleep = staticmethod(at_once)

    monkeypatch.setattr(gcsfs.retry, "asyncio", Asyncio)
    monkeypatch.setattr(AsyncStorageRetryPolicy, "sleep", at_once)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


# Google Cloud Storage


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("token", "message"), [("", "no credential was given"), ("wrong", "the credential is refused")]
)
def test_a_refused_google_credential_is_unauthorized(
    tmp_path: Path, web: Web, status: int, token: str, message: str
) -> None:
    class All(dict[str, int]):  # every path of this mock is refused
        def __contains__(self, key: object) -> bool:
            return True

        def __getitem__(self, key: str) -> int:
            return status

    web.statuses = All()
    secrets = write_secret(tmp_path / "secret", {"STORAGE_EMULATOR_HOST": web.url, "token": token})
    with pytest.raises(PermissionDenied, match=message) as caught:
        get("gs://bucket/m.keras", tmp_path / "out", secrets=secrets)
    assert caught.value.reason is Reason.SOURCE_UNAUTHORIZED
    assert {authorization for _, authorization in web.seen} == {f"Bearer {token}" if token else None}


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        "{}",
        json.dumps({"type": "external_account", "credential_source": {"file": "/etc/passwd"}}),
        json.dumps({"type": "service_account", "client_email": "a@b", "private_key": "none"}),
    ],
)
def test_a_google_key_that_is_none_of_a_service_account_is_refused(
    tmp_path: Path, gcs: Gcs, content: str
) -> None:
    secrets = gcs.secrets(tmp_path / "secret", **{"key.json": content})
    with pytest.raises(PermissionDenied, match=r"key\.json") as caught:
        get("gs://b/m.keras", tmp_path / "out", secrets=secrets)
    assert "/etc/passwd" not in caught.value.message


def test_a_service_account_asks_its_token_server_first(
    tmp_path: Path, gcs: Gcs, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waiting(monkeypatch)
    uri = gcs.put("service/m.keras", CONTENT)
    key = service_account(f"{web.url}/token")
    secrets = gcs.secrets(tmp_path / "secret", **{"key.json": key})
    with pytest.raises(PermissionDenied, match="the credential is refused"):
        get(uri, tmp_path / "out", secrets=secrets)  # this server has no /token


def service_account(token_uri: str) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "tester@example.com",
            "private_key": private.decode(),
            "token_uri": token_uri,
        }
    )


@pytest.mark.parametrize("key", ["saved/../../escape", "saved/a\\b"])
def test_an_object_name_that_is_no_file_name_is_refused(tmp_path: Path, gcs: Gcs, key: str) -> None:
    bucket = f"odd{len(key)}"
    gcs.put(f"{bucket}/saved/good.pb", b"graph")
    gcs.put(f"{bucket}/{key}", b"odd")
    with pytest.raises(DataError, match="is no file name"):
        get(f"gs://{bucket}/saved/", tmp_path / "out", secrets=gcs.secrets(tmp_path / "secret"))
    assert contents(tmp_path / "out") == {}


# Azure Blob Storage


def test_a_token_for_one_container_is_enough(tmp_path: Path, azure: Azure) -> None:
    uri = azure.put("shared/saved/m.keras", CONTENT)
    token = azure.sas_token("shared")
    secrets = azure.secrets(tmp_path / "secret", f"SharedAccessSignature={token}")
    assert get(uri, tmp_path / "out", secrets=secrets).sha256 == SHA256
    folder = get("az://shared/saved/", tmp_path / "out", secrets=secrets)
    assert contents(folder.path) == {"m.keras": CONTENT}


def test_a_refused_azure_key_is_unauthorized(tmp_path: Path, azure: Azure) -> None:
    uri = azure.put("locked/m.keras", CONTENT)
    secrets = azure.secrets(tmp_path / "secret", "AccountKey=d3Jvbmc=")
    with pytest.raises(PermissionDenied, match="the credential is refused") as caught:
        get(uri, tmp_path / "out", secrets=secrets)
    assert caught.value.reason is Reason.SOURCE_UNAUTHORIZED
    assert azure.key not in caught.value.message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no Secret names the account"),
        ({"AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}, "has no key AZURE_STORAGE_ACCOUNT_NAME"),
        ({"AZURE_STORAGE_SAS_TOKEN": "sig=x"}, "has no key AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_an_azure_secret_without_an_account_is_unauthorized(
    tmp_path: Path, values: dict[str, str], message: str
) -> None:
    with pytest.raises(PermissionDenied, match=message):
        get("az://c/m.keras", tmp_path / "out", secrets=write_secret(tmp_path / "secret", values))


def test_a_public_container_needs_no_credential(tmp_path: Path, azure: Azure) -> None:
    uri = azure.put("public/m.keras", CONTENT, public=True)
    private = azure.put("hidden/m.keras", CONTENT)
    secrets = azure.secrets(tmp_path / "secret", "EndpointSuffix=example.com")
    assert get(uri, tmp_path / "out", secrets=secrets).sha256 == SHA256
    with pytest.raises((MissingError, PermissionDenied)):  # Azure does not tell strangers what exists
        get(private, tmp_path / "out", secrets=secrets)


@pytest.mark.parametrize(
    ("values", "connection"),
    [
        ({}, "BlobEndpoint=https://a.blob.core.windows.net"),
        (
            {"AZURE_STORAGE_ACCOUNT_KEY": "a2V5"},
            "BlobEndpoint=https://a.blob.core.windows.net;AccountName=a;AccountKey=a2V5",
        ),
        (
            {"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"},
            "BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sv=1&sig=x",
        ),
    ],
    ids=["anonymous", "key", "token"],
)
def test_the_keys_of_an_azure_secret_make_a_connection_string(
    tmp_path: Path, values: dict[str, str], connection: str
) -> None:
    secrets = write_secret(tmp_path / "secret", {"AZURE_STORAGE_ACCOUNT_NAME": "a", **values})
    assert az_connection(secrets, "spec.model") == connection


def test_a_connection_string_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    secrets = write_secret(tmp_path / "secret", {"AZURE_STORAGE_CONNECTION_STRING": "nonsense"})
    with pytest.raises(UsageError):
        get("az://c/m.keras", tmp_path / "out", secrets=secrets)


# Hugging Face Hub


def test_a_revision_and_a_whole_repository_arrive(tmp_path: Path, hub: Hub) -> None:
    hub.files["owner/digits"] = {"m.keras": CONTENT, "saved/saved_model.pb": b"graph"}
    secrets = write_secret(tmp_path / "secret", {"HF_ENDPOINT": hub.endpoint})
    assert get("hf://owner/digits@v1/m.keras", tmp_path / "out", SHA256, secrets).path.name == "m.keras"
    whole = get("hf://owner/digits@main", tmp_path / "out", secrets=secrets)
    assert contents(whole.path) == hub.files["owner/digits"]
    with pytest.raises(MissingError):
        get("hf://owner/digits@v9/m.keras", tmp_path / "out", secrets=secrets)


def test_a_private_repository_needs_its_token(tmp_path: Path, hub: Hub) -> None:
    hub.files["owner/secret"] = {"m.keras": CONTENT}
    hub.private.add("owner/secret")
    uri = "hf://owner/secret/m.keras"
    for number, (token, message) in enumerate([("", "no credential was given"), ("hf_wrong", "is refused")]):
        values = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": token}
        with pytest.raises(PermissionDenied, match=message) as caught:
            get(uri, tmp_path / "out", secrets=write_secret(tmp_path / f"secret{number}", values))
        assert caught.value.reason is Reason.SOURCE_UNAUTHORIZED
    right = write_secret(tmp_path / "right", {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token})
    assert get(uri, tmp_path / "out", secrets=right).sha256 == SHA256


def test_the_token_is_not_sent_to_the_storage_host(tmp_path: Path, hub: Hub) -> None:
    hub.files["owner/large"] = {"m.keras": CONTENT}
    hub.stored.add("m.keras")
    secrets = write_secret(tmp_path / "secret", {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token})
    assert get("hf://owner/large/m.keras", tmp_path / "out", secrets=secrets).sha256 == SHA256
    seen = [authorization for path, authorization in hub.seen if path.startswith("/storage/")]
    assert seen
    assert set(seen) == {None}


def test_a_transfer_that_breaks_is_unavailable(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waiting(monkeypatch)
    hub.files["owner/broken"] = {"m.keras": CONTENT}
    hub.trouble.add("m.keras")
    secrets = write_secret(tmp_path / "secret", {"HF_ENDPOINT": hub.endpoint})
    with pytest.raises(UnavailableError):
        get("hf://owner/broken/m.keras", tmp_path / "out", secrets=secrets)
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("uri", ["hf://only-one-part", "hf://a~b/c~d/m.keras"])
def test_what_is_no_repository_is_refused(tmp_path: Path, hub: Hub, uri: str) -> None:
    secrets = write_secret(tmp_path / "secret", {"HF_ENDPOINT": hub.endpoint})
    with pytest.raises((UsageError, MissingError)):
        get(uri, tmp_path / "out", secrets=secrets)
