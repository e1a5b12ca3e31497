"""The seed model, from its files to answers, as a user of local mode: pruned, clipped, quantized and served
by one pod on one device, as two copies and as three stages.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from modelpress.api.errors import DataError
from tests.support.models import DigitsModels

BATCHES = range(1, 66)

Outputs = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all runs: the recipe is the same, so one artifact serves them all."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def one_device(digits_models: DigitsModels, state: Path) -> list[Outputs]:
    """Outputs of batches of 1..65 rows from one device."""
    return _answers(digits_models, digits_models.saved_model, state, {})


@pytest.mark.parametrize("parallelism", [{"data": 2}, {"pipeline": 3}])
def test_parallel_devices_give_the_bits_of_one_device_in_its_order(
    digits_models: DigitsModels, state: Path, one_device: list[Outputs], parallelism: dict[str, int]
) -> None:
    answers = _answers(digits_models, digits_models.saved_model, state, parallelism)
    assert [len(rows) for rows in answers] == list(BATCHES)
    for answer, expected in zip(answers, one_device, strict=True):
        np.testing.assert_array_equal(answer, expected)


def test_the_functional_file_gives_the_same_predictions(
    digits_models: DigitsModels, state: Path, one_device: list[Outputs]
) -> None:
    answers = _answers(digits_models, digits_models.functional, state, {})
    for answer, expected in zip(answers, one_device, strict=True):
        np.testing.assert_array_equal(answer.argmax(axis=1), expected.argmax(axis=1))
        np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_the_subclassed_keras_file_is_refused_with_one_line_that_says_how_to_export_it(
    digits_models: DigitsModels, state: Path, tmp_path: Path
) -> None:
    manifest = _manifest(tmp_path / "manifest.yaml", digits_models, digits_models.subclassed, {})
    command = [sys.executable, "-m", "modelpress", "run", "-f", str(manifest), "--state", str(state)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert ended.returncode == DataError.exit_code
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "UnsupportedModel" in said[0]
    assert "model.export(" in said[0]


def _answers(models: DigitsModels, model: Path, state: Path, parallelism: dict[str, int]) -> list[Outputs]:
    with _running(models, model, state, parallelism) as url, httpx.Client(base_url=url, timeout=30) as client:
        name = client.get("/v2/models/seed").json()["inputs"][0]["name"]
        return [_infer(client, name, models.digits.test_x[:rows]) for rows in BATCHES]


def _infer(client: httpx.Client, name: str, rows: npt.NDArray[np.float32]) -> Outputs:
    tensor = {"name": name, "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}
    response = client.post("/v2/models/seed/infer", json={"inputs": [tensor]})
    response.raise_for_status()
    output = response.json()["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


@contextmanager
def _running(models: DigitsModels, model: Path, state: Path, parallelism: dict[str, int]) -> Iterator[str]:
    """Yield the URL of a `modelpress run`, ended with the context."""
    manifest = _manifest(state / "manifest.yaml", models, model, parallelism)
    command = [sys.executable, "-m", "modelpress", "run", "-f", str(manifest), "--state", str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            found = re.search(r"is ready: (http://\S+)", line)
            if found:
                yield found[1]
                return
        pytest.fail("modelpress run ended early:\n" + "".join(lines))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def _manifest(path: Path, models: DigitsModels, model: Path, parallelism: dict[str, int]) -> Path:
    body: dict[str, Any] = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "seed"},
        "spec": {
            "model": {"uri": model.as_uri()},
            "data": {"evaluation": {"uri": models.flat_data.as_uri()}},
            "compression": {
                "pruning": {"sparsity": "50%"},
                "quantization": {"scheme": "Int8Dynamic"},
            },
            "optimization": {"weightClipping": {"min": "-1", "max": "1"}},
            "evaluation": {"minScore": "50%"},
            "parallelism": parallelism,
            "devices": {"type": "CPU"},
        },
    }
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    return path
