"""Models that come as .tflite files: measured, quantized, gated and served without TensorFlow."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression import pipeline
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.source import load
from modelpress.compression.report import document as report
from tests.integration.compression.test_pipeline import compress
from tests.support.hostile.tflite import MODELS
from tests.support.models.compressed import job_request
from tests.support.models.trained import DigitsModels
from tests.support.serving.artifacts import convert

INT8 = {"quantization": {"scheme": "Int8Dynamic"}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with .tflite files as people have them."""
    folder = tmp_path_factory.mktemp("files")
    convert(folder)
    return folder


def test_a_float32_file_is_judged_and_served_as_it_is(
    files: Path, digits_models: DigitsModels, tmp_path: Path
) -> None:
    source = files / "seed-float32.tflite"
    made = compress(source, digits_models.flat_data, tmp_path)
    assert (made.folder / "model.tflite").read_bytes() == source.read_bytes()
    assert made.report.source.kind == "LiteRT"
    assert made.manifest.original_bytes == 26_280
    assert [spec.name for spec in made.manifest.inputs] == ["images"]
    assert made.report.passes == ()
    assert made.manifest.scores is not None
    assert made.manifest.scores.compressed == made.manifest.scores.original > 90


@pytest.mark.parametrize(("scheme", "dtypes"), [("Int8Dynamic", {"int8"}), ("Int4Dynamic", {"int4"})])
def test_its_weights_are_quantized_and_the_formula_holds(
    files: Path, digits_models: DigitsModels, tmp_path: Path, scheme: str, dtypes: set[str]
) -> None:
    quantization = {"quantization": {"scheme": scheme}}
    made = compress(
        files / "seed-float32.tflite", digits_models.flat_data, tmp_path, compression=quantization
    )
    constants = tflite_file.read(made.folder / "model.tflite").constants
    assert {item.dtype for item in constants if item.values.ndim == 2} == dtypes
    (step,) = made.report.passes
    changed = [tensor for tensor in step.tensors if tensor.changed]
    assert len(changed) == 3
    assert all(tensor.formula and tensor.formula.elements_off == 0 for tensor in changed)
    assert made.manifest.scores is not None
    assert made.manifest.scores.compressed > 90
    assert made.manifest.compressed_bytes < made.manifest.original_bytes / 2


def test_auto_finds_a_form_of_it(files: Path, digits_models: DigitsModels, tmp_path: Path) -> None:
    model, data = files / "skip-float32.tflite", digits_models.image_data
    request = job_request(
        model,
        compression={"quantization": {"scheme": "Auto"}},
        evaluation={"maxDrop": "50%"},
        data={"evaluation": {"uri": data.as_uri()}},
    )
    inputs = pipeline.Inputs(model, data, f"sha256:{'2' * 64}", "3" * 64)
    made = pipeline.compress(request, inputs, tmp_path / "out", tmp_path / "work")
    found = report.load(tmp_path / "out").search
    assert found is not None
    assert found.passed
    assert made.compressed_bytes < made.original_bytes


@pytest.mark.parametrize("scheme", ["int8", "int4", "weights", "float16", "static"])
def test_a_quantized_file_is_judged_and_served_as_it_is_and_not_quantized_again(
    files: Path, digits_models: DigitsModels, tmp_path: Path, scheme: str
) -> None:
    source = files / f"seed-{scheme}.tflite"
    made = compress(source, digits_models.flat_data, tmp_path / "kept")
    assert (made.folder / "model.tflite").read_bytes() == source.read_bytes()
    assert made.manifest.original_bytes == 26_280
    assert made.manifest.scores is not None
    assert made.manifest.scores.compressed > 90
    with pytest.raises(DataError, match="is quantized already") as caught:
        compress(source, digits_models.flat_data, tmp_path / "again", compression=INT8)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"compression": {"pruning": {"sparsity": "50%"}}}, "pruning"),
        ({"optimization": {"weightClipping": {"min": "-1", "max": "1"}}}, "weightClipping"),
        ({"deviceType": "GPU"}, "GPU devices"),
        ({"compression": {"quantization": {"scheme": "Float16"}}}, "Int8Dynamic"),
    ],
    ids=["pruning", "clipping", "GPU", "Float16"],
)
def test_what_cannot_be_done_to_it_is_refused_and_says_what_can(
    files: Path, digits_models: DigitsModels, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        compress(files / "seed-float32.tflite", digits_models.flat_data, tmp_path, **fields)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
    assert "tflite" in caught.value.message


def test_a_file_with_a_fixed_batch_and_no_signature_is_measured(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    """As published models have it: one row, and the names of tensors."""
    made = compress(
        fixed_batch(tmp_path / "fixed.tflite"), digits_models.flat_data, tmp_path, compression=INT8
    )
    assert made.manifest.inputs[0].shape == (1, 64)
    assert made.manifest.scores is not None


@pytest.mark.parametrize("damage", ["cut", "empty table", "not one"])
def test_a_broken_file_is_invalid(files: Path, tmp_path: Path, damage: str) -> None:
    content = (files / "seed-float32.tflite").read_bytes()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(
        {"cut": content[: len(content) // 2], "empty table": content[:8], "not one": b"\0\0\0\0TFL3" * 9}[
            damage
        ]
    )
    with pytest.raises(DataError) as caught:
        compress(broken, None, tmp_path, evaluation=None)
    assert caught.value.reason is Reason.INVALID_MODEL
    assert caught.value.message.startswith("broken.tflite: ")


def test_no_tensorflow_is_loaded(files: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from typing import Any
from tests.integration.compression.test_pipeline import compress
made = compress(Path({str(files / "seed-float32.tflite")!r}), None, Path({str(tmp_path)!r}),
                compression={INT8!r}, evaluation=None)
assert not {{"tensorflow", "keras"}} & set(sys.modules), "TensorFlow was loaded"
assert "tensorflow" not in made.report.versions
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in (tmp_path / "work" / "converter.log").read_text().lower()


def fixed_batch(path: Path) -> Path:
    """Write a model of one row with the plain converter's call, its signature taken away."""
    program = f"""
import keras, tensorflow as tf
from pathlib import Path
from typing import Any
from ai_edge_litert import schema_py_generated as schema
import flatbuffers
keras.utils.set_random_seed(1)
layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(10)]
model = keras.Sequential([keras.Input(batch_shape=(1, 64)), *layers])
data = tf.lite.TFLiteConverter.from_keras_model(model).convert()
content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
content.signatureDefs = None
builder = flatbuffers.Builder(len(data))
builder.Finish(content.Pack(builder), file_identifier=b"TFL3")
Path({str(path)!r}).write_bytes(bytes(builder.Output()))
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return path


def test_a_file_that_ends_the_process_is_refused_and_does_not_end_the_job(tmp_path: Path) -> None:
    path = MODELS[0].write(tmp_path / "artifact") / "model.tflite"
    with pytest.raises(DataError, match=r"^model.tflite ends the process .*: SIGSEGV$") as caught:
        load(path, None)
    assert caught.value.reason is Reason.INVALID_MODEL
