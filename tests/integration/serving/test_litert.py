from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts.manifest import TensorSpec
from modelpress.serving.executors.base import InputError
from modelpress.serving.executors.litert import LiteRTExecutor, check_signature
from tests.support.serving.artifacts import NAMES, SCHEMES, equal, examples


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_gives_the_same_bits_whatever_rows_are_beside_it(models: Path, name: str, scheme: str) -> None:
    path = models / f"{name}-{scheme}.tflite"
    executor = LiteRTExecutor(path)
    inputs = examples(path, 65)
    whole = executor.run(inputs)
    for rows in range(1, 66):
        for start in (0, 65 - rows):
            part = executor.run([array[start : start + rows] for array in inputs])
            assert equal(part, [array[start : start + rows] for array in whole])


def test_outputs_stay_as_they_were_when_the_executor_runs_again(models: Path) -> None:
    path = models / "seed-int8.tflite"
    executor = LiteRTExecutor(path)
    first = executor.run(examples(path, 3, seed=1))
    copy = [array.copy() for array in first]
    executor.run(examples(path, 3, seed=2))
    assert equal(first, copy)


def test_refused_values_raise_an_input_error_and_leave_the_executor_usable(models: Path) -> None:
    path = models / "two-int8.tflite"
    executor = LiteRTExecutor(path)
    image, tokens = examples(path, 2)
    expected = executor.run([image, tokens])
    with pytest.raises(InputError, match="index out of bounds"):
        executor.run([image, np.full_like(tokens, 1_000_000)])
    assert equal(executor.run([image, tokens]), expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            [TensorSpec(name="x", shape=(-1, 63), dtype="float32")],
            "shape is [-1, 64], manifest.json says [-1, 63]",
        ),
        ([TensorSpec(name="x", shape=(-1, 64), dtype="int8")], "dtype is float32, manifest.json says int8"),
        ([TensorSpec(name="x", shape=(1, 64), dtype="float32")], "the batch axis is not free"),
        ([TensorSpec(name="x", shape=(-1, 64), dtype="float32")] * 2, "has 1 inputs, manifest.json lists 2"),
    ],
)
def test_a_manifest_that_speaks_of_another_model_is_refused(
    models: Path, inputs: list[TensorSpec], message: str
) -> None:
    executor = LiteRTExecutor(models / "seed-int8.tflite")
    outputs = [TensorSpec(name="y", shape=(-1, 10), dtype="float32")]
    with pytest.raises(DataError) as caught:
        check_signature(executor, inputs, outputs)
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED
    assert message in caught.value.message


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(DataError, match=r"^LiteRT cannot load model.tflite: ") as caught:
        LiteRTExecutor(path)
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED


def test_a_whole_model_that_cannot_be_allocated_is_refused_before_it_runs(
    models: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(with_first_input(models / "seed-float32.tflite", [1, 63]))
    with pytest.raises(DataError, match=r"^LiteRT cannot load model.tflite: ") as caught:
        LiteRTExecutor(path)
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED


def test_a_piece_is_allocated_at_the_shapes_of_its_first_run(models: Path) -> None:
    path = models / "seed-float32.tflite"
    inputs = examples(path, 3)
    executor = LiteRTExecutor(with_first_input(path, [1, 63]))
    with pytest.raises(InputError):
        executor.run([array[:, :63] for array in inputs])
    assert equal(executor.run(inputs), LiteRTExecutor(path).run(inputs))


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(DataError, match=r"^LiteRT cannot load a stage of the model: ") as caught:
        LiteRTExecutor(b"not a model")
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED


def with_first_input(path: Path, shape: list[int]) -> bytes:
    """Return a model whose file states another shape of its first input."""
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = shape
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
