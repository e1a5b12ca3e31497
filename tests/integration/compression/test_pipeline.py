"""Whole compressions of real models: the seed model, the same as layers, a CNN, and odd ones."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts.manifest import ArtifactManifest
from modelpress.compression import pipeline
from modelpress.compression.formats import formula
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.compression.report import document as report
from modelpress.compression.report import terminal
from modelpress.compression.report.document import Report
from modelpress.models.types import TensorSpec
from tests.support.models.compressed import job_request
from tests.support.models.trained import DigitsModels

PRUNE_AND_CLIP = {
    "compression": {"pruning": {"sparsity": "50%"}, "quantization": {"scheme": "Int8Dynamic"}},
    "optimization": {"weightClipping": {"min": "-1", "max": "1"}},
}


@dataclass(frozen=True)
class Made:
    folder: Path
    manifest: ArtifactManifest
    report: Report

    def call(self, rows: Any) -> Any:
        specs = [
            tuple(TensorSpec(spec.name, spec.shape, spec.dtype) for spec in group)
            for group in (self.manifest.inputs, self.manifest.outputs)
        ]
        model = LiteRTModel(self.folder / "model.tflite", *specs)
        return model.call({self.manifest.inputs[0].name: rows})[self.manifest.outputs[0].name]


def compress(model: Path, data: Path | None, folder: Path, **fields: Any) -> Made:
    request = job_request(model, **{"evaluation": {"minScore": "50%"}, **fields})
    inputs = pipeline.Inputs(model, data, f"sha256:{'2' * 64}", "3" * 64)
    made = pipeline.compress(request, inputs, folder / "out", folder / "work")
    return Made(folder / "out", made, report.load(folder / "out"))


@pytest.fixture(scope="module")
def seed(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("seed")
    return compress(digits_models.saved_model, digits_models.flat_data, folder, **PRUNE_AND_CLIP)


@pytest.fixture(scope="module")
def cnn(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("cnn")
    scheme = {"quantization": {"scheme": "Int8Dynamic"}}
    return compress(digits_models.cnn, digits_models.image_data, folder, compression=scheme)


def test_the_folder_is_a_complete_artifact(seed: Made) -> None:
    assert sorted(path.name for path in seed.folder.iterdir()) == [
        "manifest.json",
        "model.tflite",
        "report.json",
    ]
    assert manifests.load_verified(seed.folder) == seed.manifest
    assert [step.name for step in seed.manifest.passes] == ["pruning", "weightClipping", "quantization"]
    assert seed.manifest.original_bytes == 26_280
    assert seed.manifest.compressed_bytes == (seed.folder / "model.tflite").stat().st_size


def test_half_of_each_kernel_is_pruned_and_biases_are_left_with_a_reason(seed: Made) -> None:
    pruning = seed.report.passes[0]
    kernels = [tensor for tensor in pruning.tensors if tensor.role == "kernel"]
    assert [(tensor.changed, tensor.elements) for tensor in kernels] == [
        (2048, 4096),
        (1024, 2048),
        (160, 320),
    ]
    assert {tensor.skipped for tensor in pruning.tensors if tensor.role == "bias"} == {"a bias"}


def test_pruned_zeros_and_clip_bounds_hold_in_the_served_file(seed: Made) -> None:
    constants = tflite_file.read(seed.folder / "model.tflite").constants
    kernels = [constant for constant in constants if constant.values.ndim == 2 and constant.values.size > 100]
    assert len(kernels) == 3
    for constant in kernels:
        step = constant.scale[:, None] if constant.scale.size else 1.0
        values = constant.values.astype(np.float64) * step
        assert (values == 0).mean() >= 0.5
        assert np.abs(values).max() <= 1 + 1e-6


def test_the_formula_holds_for_every_integer_in_the_file(seed: Made, cnn: Made) -> None:
    for made, integers in ((seed, 2), (cnn, 2)):
        formulas = [tensor.formula for tensor in made.report.passes[-1].tensors if tensor.formula]
        assert len(formulas) == integers
        for item in formulas:
            assert item.largest_error <= formula.TOLERANCE
            assert item.elements_off == 0
            assert len(item.scale) == len(item.bias)


def test_small_tensors_stay_float_and_the_report_says_so(seed: Made, cnn: Made) -> None:
    last = next(tensor for tensor in seed.report.passes[-1].tensors if tensor.elements == 320)
    assert last.skipped == "fewer than 1,024 elements stay float32"
    tensors = {tensor.name: tensor for tensor in cnn.report.passes[-1].tensors}
    assert tensors["conv2d/kernel"].skipped == last.skipped
    assert tensors["conv2d/bias"].skipped == "biases and vectors stay float32"


def test_the_float_model_keeps_its_score_and_shrinks(cnn: Made) -> None:
    scores = cnn.manifest.scores
    assert scores is not None
    assert scores.rows == 540
    assert scores.original > 95
    assert abs(scores.original - scores.compressed) < 1
    assert cnn.report.sizes.ratio > 3


def test_scores_are_those_of_the_served_file(cnn: Made, digits_models: DigitsModels) -> None:
    outputs = cnn.call(digits_models.digits.test_x.reshape(-1, 8, 8, 1))
    accuracy = 100 * float((outputs.argmax(axis=1) == digits_models.digits.test_y).mean())
    assert cnn.manifest.scores is not None
    assert cnn.manifest.scores.compressed == pytest.approx(accuracy)


def test_both_latencies_are_measured_for_one_row_and_for_32(cnn: Made) -> None:
    assert [item.batch for item in cnn.report.latency] == [1, 32]
    assert all(item.original > 0 and item.compressed > 0 for item in cnn.report.latency)


def test_the_same_network_as_layers_gives_the_same_file_results(
    seed: Made, digits_models: DigitsModels, tmp_path: Path
) -> None:
    layers = compress(digits_models.functional, digits_models.flat_data, tmp_path, **PRUNE_AND_CLIP)
    rows = digits_models.digits.test_x
    assert np.array_equal(layers.call(rows), seed.call(rows))
    assert layers.manifest.scores == seed.manifest.scores
    assert [spec.name for spec in layers.manifest.inputs] == ["image"]


def test_without_compression_the_model_is_served_in_float32(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    made = compress(digits_models.functional, digits_models.flat_data, tmp_path)
    assert made.report.passes == ()
    assert made.manifest.scores is not None
    assert made.manifest.scores.original == made.manifest.scores.compressed
    assert made.manifest.compressed_bytes > 26_280


def test_the_report_is_shown_as_text_with_every_tensor(seed: Made) -> None:
    from rich.console import Console

    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(terminal.render(seed.report))
    text = console.export_text()
    for tensor in (tensor for step in seed.report.passes for tensor in step.tensors):
        assert tensor.name in text
    assert "skipped: fewer than 1,024 elements stay float32" in text
    assert "540 rows" in text


def test_the_report_measures_all_that_labels_allow(cnn: Made) -> None:
    scores = cnn.report.evaluation
    assert scores is not None
    measured = {item.metric.value for item in scores.others}
    assert measured == {
        "Agreement",
        "CosineSimilarity",
        "Fidelity",
        "BalancedAccuracy",
        "F1",
        "AUC",
        "TopKAccuracy",
    }
    assert {item.metric.value for item in scores.not_measured} == {"R2", "MultiLabelAccuracy"}
    assert scores.compressed_interval is not None
    assert scores.compressed_interval[0] < scores.compressed < scores.compressed_interval[1]
    assert scores.drop_interval is not None
    assert sum(sum(row) for row in scores.confusion[0].compressed) == scores.rows


def test_bytes_by_layer_add_up_and_name_the_layers(cnn: Made, seed: Made) -> None:
    for made in (cnn, seed):
        layers = made.report.layers
        assert sum(layer.before for layer in layers) == made.report.sizes.original_bytes
        assert sum(layer.after for layer in layers) == made.report.sizes.compressed_bytes
    dense = next(layer for layer in cnn.report.layers if layer.name.startswith("dense"))
    assert dense.before > 3.8 * dense.after


def test_histograms_show_the_served_values_of_each_kernel(cnn: Made, seed: Made) -> None:
    for made in (cnn, seed):
        for item in made.report.histograms:
            assert item.after is not None
            assert sum(item.after) == sum(item.before)
    pruned = seed.report.histograms[0]
    assert pruned.after is not None
    assert max(pruned.after) >= sum(pruned.after) / 2


def test_reports_of_real_models_fit_the_published_schema(cnn: Made, seed: Made) -> None:
    import jsonschema

    for made in (cnn, seed):
        body = json.loads((made.folder / "report.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(json.loads(report.schema())).validate(body)


def _saved(folder: Path, compute: Callable[..., Any], *specs: Any) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32), name="w")

    def forward(*inputs: Any) -> Any:
        return compute(module.w, *inputs)

    module.forward = tf.function(forward, input_signature=list(specs))
    tf.saved_model.save(module, str(folder), signatures=module.forward)
    return folder


def test_float16_halves_the_weights_and_names_of_inputs_and_outputs_stay_with_their_values(
    tmp_path: Path,
) -> None:
    import tensorflow as tf

    specs = [tf.TensorSpec((None, 64), tf.float32, name=name) for name in ("zeta", "alpha")]
    path = _saved(
        tmp_path / "m",
        lambda w, zeta, alpha: {"sum": tf.matmul(zeta, w), "a/first": alpha[:, :1] * 2},
        *specs,
    )
    data = tmp_path / "data.npz"
    values = np.random.default_rng(1).normal(size=(2, 20, 64)).astype(np.float32)
    np.savez(data, zeta=values[0], alpha=values[1])
    scheme = {"quantization": {"scheme": "Float16"}}
    fidelity = {"metric": "Fidelity", "minScore": "99%"}
    made = compress(path, data, tmp_path, compression=scheme, evaluation=fidelity)
    assert [spec.name for spec in made.manifest.inputs] == ["alpha", "zeta"]
    assert [(spec.name, spec.shape) for spec in made.manifest.outputs] == [
        ("a/first", (-1, 1)),
        ("sum", (-1, 64)),
    ]
    assert made.manifest.scores is not None
    assert made.manifest.scores.compressed > 99.99
    weight = next(tensor for tensor in made.report.passes[0].tensors if tensor.name == "w")
    assert (weight.bytes_before, weight.bytes_after) == (64 * 64 * 4, 64 * 64 * 2)


def test_weights_beyond_float16_fail_the_score_and_not_the_job_and_are_told(tmp_path: Path) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec((None, 64), tf.float32, name="x")
    path = _saved(tmp_path / "m", lambda w, x: {"y": tf.matmul(x, (w + 10) * 1e5)}, spec)
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(1).normal(size=(4, 64)).astype(np.float32))
    scheme = {"quantization": {"scheme": "Float16"}}
    made = compress(
        path, data, tmp_path, compression=scheme, evaluation={"metric": "Agreement", "minScore": "1%"}
    )
    assert made.manifest.scores is not None
    assert made.manifest.scores.compressed < 50
    assert "4096 elements are beyond float16" in made.report.warnings[-1]
    assert "4 rows cannot tell it from the limit" in made.report.warnings[0]


def test_an_operation_without_a_built_in_operator_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec((None, 64), tf.float32, name="x")
    path = _saved(tmp_path / "m", lambda w, x: {"y": tf.math.erfinv(tf.tanh(tf.matmul(x, w)))}, spec)
    with pytest.raises(DataError, match="Erfinv") as caught:
        compress(path, None, tmp_path)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
