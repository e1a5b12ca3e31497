"""A new executor needs a module of its own and an entry of a table, as CONTRIBUTING.md says: nothing else."""

from pathlib import Path

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import manifest
from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.manifest import TensorSpec
from modelpress.serving.executors.runtimes import RUNTIMES, LoadCopies, Runtime
from modelpress.serving.loading import load
from tests.support import artifact_folders
from tests.support.serving.artifacts import failure, start, worker
from tests.support.serving.oip_requests import tensor

TOY = Path(__file__).parents[2] / "support/serving/toy_worker.py"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact of a form that only the toy knows: a file with the number to multiply by."""
    folder = artifact_folders.make(tmp_path / "artifact", {"factor.txt": b"2\n"})
    facts = {
        "form": "numpy",
        "inputs": (TensorSpec(name="x", shape=(-1, 3), dtype="float32"),),
        "outputs": tuple(
            TensorSpec(name=name, shape=(-1, size), dtype="float32") for name, size in (("y", 3), ("rows", 1))
        ),
    }
    manifest.save(manifest.load(folder).model_copy(update=facts), folder)
    return folder


@pytest.mark.parametrize(("data", "rows"), [(1, [4] * 8 + [2] * 2), (2, [2] * 8 + [1] * 2)])
def test_it_answers_in_batches_that_its_copies_share(
    artifact: Path, tmp_path: Path, data: int, rows: list[int]
) -> None:
    values = np.arange(30, dtype="float32").reshape(10, 3)
    with worker(artifact, tmp_path, program=TOY, data=data, max_batch_size=4) as running:
        answer = running.predict({"inputs": values.tolist()}).json()["outputs"]
        assert answer["y"] == (2 * values).tolist()
        assert [row for (row,) in answer["rows"]] == rows, "rows in the call that computed each"
        oip = running.infer({"inputs": [tensor("x", values)]}).json()["outputs"]
        assert oip[0]["data"] == (2 * values).ravel().tolist()
        described = running.client.get("/v2/models/digits").json()
        assert described["platform"] == "numpy"
        digest = file_sha256(artifact / "factor.txt")
        assert f'digest="sha256:{digest}"' in running.client.get("/metrics").text


def test_a_runtime_that_is_not_installed_is_said(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> LoadCopies:
        raise ImportError("No module named 'toy'")

    monkeypatch.setitem(RUNTIMES, "numpy", Runtime("numpy", missing, "and toy is not installed"))
    with pytest.raises(DataError, match="of form numpy, and toy is not installed") as caught:
        load(artifact)
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED


def test_a_form_without_a_runtime_is_refused_with_those_that_have_one(artifact: Path, tmp_path: Path) -> None:
    process, _, termination, _ = start(artifact, tmp_path)
    told = failure(process, termination, 65)
    assert told.reason is Reason.MODEL_LOAD_FAILED
    assert told.message == (
        "the artifact is of form numpy, which this release cannot load; accepted are tflite, tensorflow"
    )
