"""Job, fetch and worker as their images run them: a uid without a name, and only what pods are given."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from modelpress.api import contract
from modelpress.api.contract import JobResult, WorkerConfig
from modelpress.api.spec import Serving
from tests.support.models.trained import DigitsModels
from tests.support.serving.artifacts import free_port, wait_ready
from tests.support.unnamed import UID, unnamed_user


@pytest.fixture
def pod(tmp_path: Path) -> dict[str, str]:
    """The environment of every container of ours, in folders of this machine."""
    (tmp_path / "work").mkdir()
    return {
        contract.STORE: (tmp_path / "store").as_uri(),
        contract.MODEL_DIR: str(tmp_path / "model"),
        contract.TERMINATION_MESSAGE: str(tmp_path / "termination"),
        "HOME": str(tmp_path / "work"),
        "TMPDIR": str(tmp_path / "work"),
    }


def command(*words: str) -> list[str]:
    return [*unnamed_user(), sys.executable, "-m", "modelpress", *words]


def run(environment: dict[str, str], *words: str) -> None:
    done = subprocess.run(command(*words), env=environment, cwd="/", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_the_uid_has_no_name() -> None:
    ask = "import os, pwd; print(os.getuid()); pwd.getpwuid(os.getuid())"
    done = subprocess.run([*unnamed_user(), sys.executable, "-c", ask], capture_output=True, check=False)
    assert done.stdout.split() == [str(UID).encode()]
    assert b"KeyError" in done.stderr


def test_a_model_of_a_claim_is_compressed_fetched_and_served(
    digits_models: DigitsModels, pod: dict[str, str], tmp_path: Path
) -> None:
    claim = tmp_path / "claims" / "models"
    claim.mkdir(parents=True)
    (claim / "digits.keras").write_bytes(digits_models.functional.read_bytes())
    (claim / "test.npz").write_bytes(digits_models.flat_data.read_bytes())
    request = {
        "name": "digits",
        "namespace": "default",
        "recipeHash": "recipe",
        "model": {"uri": "pvc://models/digits.keras"},
        "data": {"evaluation": {"uri": "pvc://models/test.npz"}},
        "compression": {"quantization": {"scheme": "Int8Dynamic"}},
        "evaluation": {"minScore": "90%"},
        "deviceType": "CPU",
    }
    of_job = {
        contract.REQUEST: json.dumps(request),
        contract.WORK_DIR: str(tmp_path / "work"),
        contract.CLAIMS: str(tmp_path / "claims"),
    }
    run({**pod, **of_job}, "job")
    result = JobResult.model_validate_json((tmp_path / "termination").read_text())
    assert result.scores is not None
    assert result.scores.compressed > 90
    run({**pod, contract.ARTIFACT_DIGEST: result.artifact_digest}, "fetch")
    port = free_port()
    config = WorkerConfig(name="digits", serving=Serving(drain_seconds=0))
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("serve"),
            env={**pod, contract.PORT: str(port), contract.WORKER_CONFIG: config.to_json()},
            cwd="/",
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_ready(client, process, log)
            answer = client.post("/v1/models/digits:predict", json={"instances": [[0.0] * 64]})
            assert answer.status_code == 200
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
