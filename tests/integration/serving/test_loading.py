"""What a worker refuses to load."""

import json
import shutil
from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.spec import Parallelism, Serving
from modelpress.artifacts import manifest
from modelpress.artifacts.manifest import Form
from modelpress.serving.executors.base import Array, Arrays
from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.loading import load
from tests.support.serving.artifacts import equal, examples, failure, start


def test_a_cpu_worker_refuses_the_form_for_gpus(artifacts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(artifacts / "seed-int8", folder)
    found = manifest.load(folder)
    manifest.save(found.model_copy(update={"form": Form.TENSORFLOW}), folder)
    process, _, termination, log = start(folder, tmp_path)  # in which TensorFlow cannot be imported
    assert process.wait(60) == 65, log.read_text()
    told = json.loads(termination.read_text())
    assert told["reason"] == Reason.MODEL_LOAD_FAILED
    assert "of form tensorflow, for GPU devices, and this worker cannot import TensorFlow" in told["message"]


def test_the_form_for_cpus_is_not_split_over_devices(artifacts: Path) -> None:
    with pytest.raises(DataError, match="tensor needs GPU devices") as caught:
        load(artifacts / "seed-int8", Parallelism(tensor=2))
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize("name", ["dilated-int8", "products-float32"])
def test_a_pipeline_of_stages_that_fit_real_shapes_only_computes_like_the_whole(
    artifacts: Path, name: str
) -> None:
    inputs = examples(artifacts / name / "model.tflite", 5)
    whole = load(artifacts / name).copies[0][0].run(inputs)
    values = inputs
    for stage in load(artifacts / name, Parallelism(pipeline=3)).copies[0]:
        values = stage.run(values)
    assert equal(values, whole)


def test_a_pipeline_of_a_model_that_cannot_be_cut_ends_with_one_line(artifacts: Path, tmp_path: Path) -> None:
    process, _, termination, log = start(artifacts / "mask-float32", tmp_path, pipeline=2)
    told = failure(process, termination, 65)
    assert told.reason is Reason.UNSUPPORTED_MODEL
    assert "(RANGE) cannot be computed apart from the others on rows of zeros" in told.message
    assert "Traceback" not in log.read_text()
    load(artifacts / "mask-float32")


@pytest.mark.parametrize("copy_count", [1, 2])
def test_every_copy_computes_its_share_of_the_largest_batch_before_it_is_ready(
    artifacts: Path, copy_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[object, list[int]] = {}

    def run(self: LiteRTExecutor, inputs: Arrays) -> list[Array]:
        rows.setdefault(self, []).append(len(inputs[0]))
        return really(self, inputs)

    really = LiteRTExecutor.run
    monkeypatch.setattr(LiteRTExecutor, "run", run)
    copies = load(artifacts / "dilated-int8", Parallelism(data=copy_count), Serving(max_batch_size=48)).copies
    assert [rows[executor] for copy in copies for executor in copy] == [[1, 2, 48 // copy_count]] * copy_count
