"""The seed model, from its files to answers, as a user of local mode: pruned, clipped, quantized and served
in three stages. tests/integration/serving compares all layouts.
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
from tests.support.models.trained import DigitsModels

BATCHES = range(1, 66)

Outputs = npt.NDArray[np.float32]


def test_answers_keep_the_order_of_their_rows_in_batches_of_every_size(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    answers = _answers(digits_models, tmp_path)
    assert [len(rows) for rows in answers] == list(BATCHES)
    for answer in answers:
        np.testing.assert_allclose(answer, answers[-1][: len(answer)], atol=1e-5)
    digits = digits_models.digits.test_y[: len(answers[-1])]
    assert (answers[-1].argmax(axis=1) == digits).mean() > 0.7  # half of the weights are pruned


def test_the_subclassed_keras_file_is_refused_with_one_line_that_says_how_to_export_it(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    manifest = _manifest(tmp_path / "manifest.yaml", digits_models, digits_models.subclassed)
    command = [sys.executable, "-m", "modelpress", "run", "-f", str(manifest), "--state", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert ended.returncode == DataError.exit_code
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "UnsupportedModel" in said[0]
    assert "model.export(" in said[0]


def _answers(models: DigitsModels, state: Path) -> list[Outputs]:
    with _running(models, state) as url, httpx.Client(base_url=url, timeout=30) as client:
        name = client.get("/v2/models/seed").json()["inputs"][0]["name"]
        return [_infer(client, name, models.digits.test_x[:rows]) for rows in BATCHES]


def _infer(client: httpx.Client, name: str, rows: npt.NDArray[np.float32]) -> Outputs:
    tensor = {"name": name, "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}
    response = client.post("/v2/models/seed/infer", json={"inputs": [tensor]})
    response.raise_for_status()
    output = response.json()["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


@contextmanager
def _running(models: DigitsModels, state: Path) -> Iterator[str]:
    """Yield the URL of a `modelpress run`, ended with the context."""
    manifest = _manifest(state / "manifest.yaml", models, models.saved_model)
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


def _manifest(path: Path, models: DigitsModels, model: Path) -> Path:
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
            "parallelism": {"pipeline": 3},
            "devices": {"type": "CPU"},
        },
    }
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    return path
