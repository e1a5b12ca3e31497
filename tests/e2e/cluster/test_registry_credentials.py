"""The default registry with its token service: real tokens, TokenReviews and registry."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml

from modelpress.api.conditions import Reason
from modelpress.api.contract import POD_TOKEN
from modelpress.api.errors import PermissionDenied
from modelpress.artifacts.image import MANIFEST_TYPE, Image, pack
from modelpress.artifacts.stores.base import Store, open_store
from tests.support.cluster.controlplane import ControlPlane, free_port
from tests.support.cluster.helpers import make_namespace
from tests.support.servers.servers import Registry, run_registry, running, wait
from tests.support.serving.artifacts import convert, make_artifact

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
DEPLOYMENT = yaml.safe_load((MANIFESTS / "registry" / "deployment.yaml").read_text())
POD = DEPLOYMENT["spec"]["template"]["spec"]
ACCOUNT = (DEPLOYMENT["metadata"]["namespace"], POD["serviceAccountName"])
AUDIENCE = "modelpress-registry"
KEY = "0" * 64
SHOP, BANK = "tokens-shop", "tokens-bank"


@dataclass(frozen=True)
class Guarded:
    """A registry behind its token service."""

    registry: Registry
    page: str  # of tokens

    def uri(self, namespace: str) -> str:
        return f"oci://{self.registry.host}/modelpress/{namespace}"


@contextmanager
def run_tokens(control_plane: ControlPlane, folder: Path, *more: str) -> Iterator[Guarded]:
    """Run both as the manifest does, on free ports and with files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (sidecar,), (main,) = POD["initContainers"], POD["containers"]
    port, jwks = free_port(), folder / "jwks.json"
    paths = {"--key": folder / "key.pem", "--jwks": jwks}
    arguments = [
        f"{name}={paths.get(name, value)}"
        for name, _, value in (argument.partition("=") for argument in sidecar["args"])
    ]
    command = [sys.executable, "-m", *sidecar["command"], *arguments, f"--port={port}", *more]
    environment = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig_for_service_account(*ACCOUNT))}
    page = f"http://127.0.0.1:{port}/token"
    settings = {entry["name"]: entry["value"] for entry in main["env"] if "_AUTH_" in entry["name"]}
    settings |= {"REGISTRY_AUTH_TOKEN_REALM": page, "REGISTRY_AUTH_TOKEN_JWKS": str(jwks)}
    log = folder / "tokens.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        with running(process):
            wait(process, f"http://127.0.0.1:{port}/healthz", log)
            with run_registry(folder / "registry", settings=settings) as registry:
                yield Guarded(registry, page)


@pytest.fixture(scope="module")
def accounts(control_plane: ControlPlane) -> ControlPlane:
    """A control plane with two namespaces and what the registry's manifests grant."""
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "registry" / "rbac.yaml"))
    for name in (SHOP, BANK):
        make_namespace(control_plane.admin, name)
    return control_plane


@pytest.fixture(scope="module")
def guarded(accounts: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with run_tokens(accounts, tmp_path_factory.mktemp("guarded")) as made:
        yield made


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """A classifier's artifact."""
    folder = tmp_path_factory.mktemp("artifact")
    convert(folder / "models")
    return pack(make_artifact(folder / "models" / "seed-int8.tflite", folder / "artifact"))


@pytest.fixture
def pod(accounts: ControlPlane, tmp_path: Path) -> Callable[..., Path]:
    """Returns the folder that the kubelet would mount in a pod of a namespace."""

    def mounted(namespace: str, audience: str | None = AUDIENCE) -> Path:
        spec: dict[str, Any] = {"audiences": [audience]} if audience else {}
        where = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
        token = accounts.admin.request("POST", where, {"spec": spec})["status"]["token"]
        folder = tmp_path / f"{namespace}-{audience}"
        folder.mkdir(exist_ok=True)
        (folder / POD_TOKEN).write_text(token)
        return folder

    return mounted


def refused(uri: str, secrets: Path | None, use: Callable[[Store], object]) -> str:
    """Use a store, which is to be refused; return the words."""
    with pytest.raises(PermissionDenied) as caught:
        use(open_store(uri, secrets=secrets))
    assert caught.value.reason is Reason.STORE_UNAUTHORIZED
    return caught.value.message


def test_pods_of_a_namespace_write_and_read_its_repository_and_no_other(
    guarded: Guarded, image: Image, pod: Callable[..., Path], tmp_path: Path
) -> None:
    own = open_store(guarded.uri(SHOP), secrets=pod(SHOP))
    digest = own.push(image, KEY)
    assert own.find(KEY) == digest
    open_store(guarded.uri(SHOP), secrets=pod(SHOP)).pull(digest, tmp_path / "model")
    assert any((tmp_path / "model").iterdir())
    foreign = pod(BANK)
    refused(guarded.uri(SHOP), foreign, lambda store: store.pull(digest, tmp_path / "stolen"))
    refused(guarded.uri(SHOP), foreign, lambda store: store.push(image, KEY))
    refused(guarded.uri(BANK), pod(SHOP), lambda store: store.push(image, KEY))
    open_store(guarded.uri(BANK), secrets=foreign).push(image, KEY)


def test_without_a_token_for_the_registry_nothing_is_read(
    guarded: Guarded, pod: Callable[..., Path], tmp_path: Path
) -> None:
    uri = guarded.uri(SHOP)
    assert "no credential was given" in refused(uri, None, lambda store: store.find(KEY))
    for wrong in (pod(SHOP, "another-service"), pod(SHOP, None)):
        assert "the credential is refused" in refused(uri, wrong, lambda store: store.find(KEY))
    forged = tmp_path / "forged"
    forged.mkdir()
    claims = {"sub": f"system:serviceaccount:{SHOP}:default", "aud": [AUDIENCE]}
    (forged / POD_TOKEN).write_text(jwt.encode(claims, "key" * 16))
    refused(uri, forged, lambda store: store.find(KEY))


def test_a_token_that_the_kubelet_renewed_is_read_again(
    guarded: Guarded, image: Image, pod: Callable[..., Path]
) -> None:
    folder = pod(SHOP)
    token = (folder / POD_TOKEN).read_text()
    (folder / POD_TOKEN).write_text("expired")
    store = open_store(guarded.uri(SHOP), secrets=folder)
    with pytest.raises(PermissionDenied):
        store.find(KEY)
    (folder / POD_TOKEN).write_text(token)
    assert store.push(image, KEY)


def test_nobody_deletes_lists_repositories_or_mounts_from_another(
    guarded: Guarded, image: Image, pod: Callable[..., Path]
) -> None:
    digest = open_store(guarded.uri(SHOP), secrets=pod(SHOP)).push(image, KEY)
    mine, theirs = f"modelpress/{SHOP}", f"modelpress/{BANK}"
    api = f"http://{guarded.registry.host}/v2"
    blob = image.blobs[0].descriptor.digest
    token = (pod(SHOP) / POD_TOKEN).read_text()
    thief = (pod(BANK) / POD_TOKEN).read_text()

    def ask(method: str, where: str, scope: str, password: str) -> int:
        login = base64.b64encode(f"anybody:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}"}
        answer = httpx.get(guarded.page, params={"scope": scope}, headers=headers).json()
        bearer = {"Authorization": f"Bearer {answer['token']}", "Accept": MANIFEST_TYPE}
        return httpx.request(method, f"{api}/{where}", headers=bearer).status_code

    assert ask("GET", f"{mine}/manifests/{digest}", f"repository:{mine}:pull", token) == 200
    assert ask("DELETE", f"{mine}/manifests/{digest}", f"repository:{mine}:delete", token) == 401
    assert ask("GET", "_catalog", "registry:catalog:*", token) == 401
    mount = f"{theirs}/blobs/uploads/?mount={blob}&from={mine}"
    scopes = f"repository:{theirs}:pull,push repository:{mine}:pull"
    assert ask("POST", mount, scopes, thief) == 401
    assert ask("POST", f"{theirs}/blobs/uploads/", scopes, thief) == 202


def test_everybody_reads_while_anonymous_pull_is_on_and_the_key_outlives_the_service(
    accounts: ControlPlane, image: Image, pod: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "open"
    with run_tokens(accounts, folder, "--anonymous-pull") as guarded:
        digest = open_store(guarded.uri(SHOP), secrets=pod(SHOP)).push(image, KEY)
        open_store(guarded.uri(SHOP)).pull(digest, tmp_path / "model")
        refused(guarded.uri(SHOP), None, lambda store: store.push(image, "1" * 64))
        refused(guarded.uri(SHOP), pod(BANK), lambda store: store.push(image, "1" * 64))
    known = (folder / "jwks.json").read_text()
    with run_tokens(accounts, folder):
        assert (folder / "jwks.json").read_text() == known
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
