"""The init container's program, run as the process that it is in a pod."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpress.api import contract
from modelpress.api.conditions import Reason
from modelpress.api.contract import JobFailure
from modelpress.artifacts.image import pack
from modelpress.artifacts.manifest import load_verified
from modelpress.artifacts.stores.base import open_store
from tests.support.artifact_folders import KEY, contents, make
from tests.support.servers.servers import Registry, docker_secret, free_port

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pod(tmp_path: Path) -> Run:
    """Run the program with the environment of a pod whose volumes are below tmp_path."""

    def run(**changes: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            contract.MODEL_DIR: str(tmp_path / "work" / "model"),
            contract.SECRETS: str(tmp_path / "secrets"),
            contract.TERMINATION_MESSAGE: str(tmp_path / "termination"),
            **changes,
        }
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from modelpress.artifacts.fetch import main; sys.exit(main())",
            ],
            env={name: value for name, value in environment.items() if value},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def push(uri: str, folder: Path, secrets: Path | None = None) -> str:
    with pack(folder) as image:
        return open_store(uri, secrets=secrets).push(image, KEY)


def failure(tmp_path: Path) -> JobFailure:
    text = (tmp_path / "termination").read_text()
    assert len(text.encode()) <= contract.TERMINATION_MESSAGE_LIMIT
    return JobFailure.model_validate_json(text)


def test_the_files_arrive_and_a_second_run_needs_no_store(
    pod: Run, registry: Registry, tmp_path: Path
) -> None:
    folder = make(tmp_path / "artifact")
    uri = f"oci://{registry.host}/fetch-{uuid.uuid4().hex[:8]}"
    digest = push(uri, folder)
    variables = {contract.STORE: uri, contract.ARTIFACT_DIGEST: digest}
    first = pod(**variables)
    assert first.returncode == 0, first.stderr
    assert load_verified(tmp_path / "work" / "model") == load_verified(folder)
    assert not (tmp_path / "termination").exists()
    again = pod(**variables | {contract.STORE: f"oci://127.0.0.1:{free_port()}/gone"})
    assert again.returncode == 0, again.stderr


def test_files_that_changed_since_are_fetched_again(pod: Run, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    uri = (tmp_path / "layout").as_uri()
    variables = {contract.STORE: uri, contract.ARTIFACT_DIGEST: push(uri, folder)}
    assert pod(**variables).returncode == 0
    model = tmp_path / "work" / "model" / "model.tflite"
    model.write_bytes(b"changed")
    assert pod(**variables).returncode == 0
    assert model.read_bytes() == contents(folder)["model.tflite"]


def test_another_artifact_replaces_the_files(pod: Run, tmp_path: Path) -> None:
    uri = (tmp_path / "layout").as_uri()
    for content in (b"one", b"two"):
        digest = push(uri, make(tmp_path / content.decode(), {"model.tflite": content}))
        assert pod(**{contract.STORE: uri, contract.ARTIFACT_DIGEST: digest}).returncode == 0
        assert (tmp_path / "work" / "model" / "model.tflite").read_bytes() == content


def test_the_credential_comes_from_the_storage_secret(
    pod: Run, protected_registry: Registry, tmp_path: Path
) -> None:
    uri = f"oci://{protected_registry.host}/fetch-{uuid.uuid4().hex[:8]}"
    secrets = docker_secret(tmp_path / "secrets" / contract.STORAGE_SECRET, protected_registry.host)
    variables = {contract.STORE: uri, contract.ARTIFACT_DIGEST: push(uri, make(tmp_path / "a"), secrets)}
    assert pod(**variables).returncode == 0
    (secrets / ".dockerconfigjson").unlink()
    (tmp_path / "work" / "model" / "model.tflite").unlink()
    refused = pod(**variables)
    assert refused.returncode == 77
    assert failure(tmp_path).reason is Reason.STORE_UNAUTHORIZED


def test_a_lost_artifact_is_reported(pod: Run, registry: Registry, tmp_path: Path) -> None:
    variables = {
        contract.STORE: f"oci://{registry.host}/fetch",
        contract.ARTIFACT_DIGEST: f"sha256:{'0' * 64}",
    }
    assert pod(**variables).returncode == 66
    assert failure(tmp_path).reason is Reason.ARTIFACT_LOST


def test_a_flipped_byte_is_reported(pod: Run, tmp_path: Path) -> None:
    uri = (tmp_path / "layout").as_uri()
    digest = push(uri, make(tmp_path / "artifact"))
    largest = max((tmp_path / "layout/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert pod(**{contract.STORE: uri, contract.ARTIFACT_DIGEST: digest}).returncode == 65
    assert failure(tmp_path).reason is Reason.ARTIFACT_CORRUPT
    assert not (tmp_path / "work" / "model").exists()


def test_a_registry_that_is_away_is_worth_a_retry(pod: Run, tmp_path: Path) -> None:
    store = f"oci://127.0.0.1:{free_port()}/models"
    ended = pod(**{contract.STORE: store, contract.ARTIFACT_DIGEST: f"sha256:{'0' * 64}"})
    assert ended.returncode == 69
    assert failure(tmp_path).reason is Reason.STORE_UNAVAILABLE
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({contract.STORE: ""}, contract.STORE),
        ({contract.ARTIFACT_DIGEST: ""}, contract.ARTIFACT_DIGEST),
        ({contract.ARTIFACT_DIGEST: "latest"}, "latest"),
        ({contract.MODEL_DIR: ""}, contract.MODEL_DIR),
        ({contract.STORE: "s3://models"}, "is not a store"),
    ],
)
def test_a_wrong_environment_is_reported(
    pod: Run, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    good = {contract.STORE: (tmp_path / "layout").as_uri(), contract.ARTIFACT_DIGEST: f"sha256:{'0' * 64}"}
    assert pod(**good | changes).returncode == 64
    assert message in failure(tmp_path).message


def test_an_error_of_ours_is_reported_without_internals(pod: Run, tmp_path: Path) -> None:
    uri = (tmp_path / "layout").as_uri()
    digest = push(uri, make(tmp_path / "artifact"))
    (tmp_path / "work").write_text("a file where a folder must be")
    ended = pod(**{contract.STORE: uri, contract.ARTIFACT_DIGEST: digest})
    assert ended.returncode == 70
    assert failure(tmp_path).message == "unexpected FileExistsError; see the log"
    assert "Traceback" in ended.stderr
