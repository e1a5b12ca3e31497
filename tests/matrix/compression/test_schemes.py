"""Every quantization scheme of the CPU on four models of different kinds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from modelpress.api.evaluation import Metric
from modelpress.api.schemes import DeviceType, Scheme
from modelpress.compression import schemes
from modelpress.compression.evaluation import dataset, evaluation
from modelpress.compression.formats import calibration
from modelpress.compression.formats.base import Format, QuantizationTask
from modelpress.compression.formats.formula import TOLERANCE
from modelpress.compression.formats.litert import quantize, tflite_file
from modelpress.compression.formats.litert.backend import LiteRTFormats
from modelpress.compression.formats.litert.converter import Converter
from modelpress.compression.report.document import EvaluationReport, PassReport
from modelpress.models.load import load
from modelpress.models.types import Array, original_bytes
from tests.support.models import small as small_models
from tests.support.models.small import TrainedModel
from tests.support.models.trained import DigitsModels
from tests.support.scores import scored

MODELS = ("mlp", "cnn", "depthwise", "text")
SCHEMES = schemes.of_device(DeviceType.CPU)
INTEGERS = [scheme for scheme in SCHEMES if scheme is not Scheme.FLOAT16]
# bytes of the weights in float32 / bytes of the file, at least; files have some KB besides the weights
RATIOS = {
    "mlp": {"Int8Dynamic": 2.2, "Int8Static": 2.1, "Int4Dynamic": 3.6, "Int8Weights": 2.4, "Float16": 1.5},
    "cnn": {"Int8Dynamic": 3.2, "Int8Static": 3.2, "Int4Dynamic": 5.3, "Int8Weights": 3.3, "Float16": 1.7},
    "depthwise": {
        "Int8Dynamic": 1.2,
        "Int8Static": 1.2,
        "Int4Dynamic": 1.4,
        "Int8Weights": 1.3,
        "Float16": 1.1,
    },
    "text": {"Int8Dynamic": 2.9, "Int8Static": 3.0, "Int4Dynamic": 3.4, "Int8Weights": 3.1, "Float16": 1.7},
}
DROPS = {"Int4Dynamic": 4.0}  # percentage points; 2 for the others, where 540 rows have an error of 0.6


@pytest.fixture(scope="module")
def models(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainedModel]:
    folder = tmp_path_factory.mktemp("models")
    flat, images = folder / "flat.npz", folder / "images.npz"
    np.savez(flat, x=digits_models.digits.train_x)
    np.savez(images, x=digits_models.digits.train_x.reshape(-1, 8, 8, 1))
    return {
        "mlp": TrainedModel(digits_models.functional, digits_models.flat_data, flat),
        "cnn": TrainedModel(digits_models.cnn, digits_models.image_data, images),
        "depthwise": small_models.depthwise(folder),
        "text": small_models.text(folder),
    }


@dataclass(frozen=True)
class Quantized:
    """A serving format, the report of its pass, and its scores."""

    format: Format
    step: PassReport
    scores: EvaluationReport
    ratio: float  # bytes of the weights in float32 / bytes of the file


class _Original:
    """A loaded model, its float32 format, data, and outputs."""

    def __init__(self, trained: TrainedModel, converter: Converter, folder: Path) -> None:
        self.model = load(trained.path, folder / "model")
        specs = self.model.inputs, self.model.outputs
        self.data = dataset.load(trained.evaluation, folder / "evaluation", *specs, labels=True)
        self.formats = LiteRTFormats(self.model, converter, self.data.batch(0, 8), folder / "float32")
        rows = dataset.load(trained.calibration, folder / "calibration", *specs, labels=False)
        self.calibration = calibration.prepare(rows, self.model, folder / "calibration.npz")
        self.outputs = self.predict(self.formats.float32, folder / "original")

    def predict(self, format: Format, folder: Path) -> dict[str, Array]:
        return evaluation.predict(format.model, self.data, folder, batch=64, step="test")


class Formats:
    """The format of each model and scheme, made when it is first asked for."""

    def __init__(self, models: dict[str, TrainedModel], converter: Converter, folder: Path) -> None:
        self._models = models
        self._converter = converter
        self._folder = folder
        self._originals: dict[str, _Original] = {}
        self._made: dict[tuple[str, Scheme], Quantized] = {}

    def __getitem__(self, key: tuple[str, Scheme]) -> Quantized:
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def _make(self, name: str, scheme: Scheme) -> Quantized:
        if name not in self._originals:
            self._originals[name] = _Original(self._models[name], self._converter, self._folder / name)
        original = self._originals[name]
        desired = QuantizationTask(scheme, original.calibration if scheme is Scheme.INT8_STATIC else None)
        format, step = original.formats.quantized(desired, self._folder / name / f"{scheme.value} format")
        found = original.predict(format, self._folder / name / scheme.value)
        scores = scored(Metric.ACCURACY, original.data.labels, original.outputs, found)
        return Quantized(format, step, scores, original_bytes(original.model) / format.bytes)


@pytest.fixture(scope="module")
def formats(models: dict[str, TrainedModel], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Formats]:
    folder = tmp_path_factory.mktemp("formats")
    with Converter(folder) as converter:
        yield Formats(models, converter, folder)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", MODELS)
def test_each_scheme_makes_each_model_smaller_and_keeps_its_score(
    formats: Formats, name: str, scheme: Scheme
) -> None:
    made = formats[name, scheme]
    assert made.scores.original > 85
    assert made.scores.drop <= DROPS.get(scheme.value, 2.0)
    assert made.ratio >= RATIOS[name][scheme.value]


@pytest.mark.parametrize("scheme", INTEGERS)
@pytest.mark.parametrize("name", MODELS)
def test_the_formula_holds_for_every_stored_integer(formats: Formats, name: str, scheme: Scheme) -> None:
    made = formats[name, scheme]
    stored = [constant for constant in tflite_file.read(made.format.path).constants if constant.scale.size]
    formulas = [tensor.formula for tensor in made.step.tensors if tensor.formula]
    assert stored
    assert len(formulas) >= len(stored)
    assert not [
        tensor
        for tensor in made.step.tensors
        if tensor.skipped and tensor.skipped.startswith(quantize.UNMATCHED)
    ]
    for item in formulas:
        assert item.largest_error <= TOLERANCE
        assert item.elements_off == 0
        assert len(item.scale) == len(item.bias)


@pytest.mark.parametrize("name", MODELS)
def test_int4_is_for_fully_connected_layers_only(formats: Formats, name: str) -> None:
    stored = tflite_file.read(formats[name, Scheme.INT4_DYNAMIC].format.path).constants
    kernels = [constant for constant in stored if constant.scale.size]
    assert {constant.values.ndim for constant in kernels if constant.dtype == "int4"} == {2}
    for constant in kernels:
        assert constant.limits[0] <= constant.values.min() <= constant.values.max() <= constant.limits[1]
        assert constant.stored_bytes == -(-constant.values.size * (4 if constant.dtype == "int4" else 8) // 8)


@pytest.mark.parametrize("scheme", INTEGERS)
def test_embeddings_become_int8_with_every_integer_scheme(formats: Formats, scheme: Scheme) -> None:
    tensors = formats["text", scheme].step.tensors
    table = next(tensor for tensor in tensors if tensor.role == "embedding")
    assert (table.bytes_before, table.bytes_after) == (512 * 32 * 4, 512 * 32)


@pytest.mark.parametrize("name", MODELS)
def test_int8_weights_compute_in_float(formats: Formats, name: str) -> None:
    file = tflite_file.read(formats[name, Scheme.INT8_WEIGHTS].format.path)
    assert file.operators.count("DEQUANTIZE") == sum(constant.scale.size > 0 for constant in file.constants)
    assert "QUANTIZE" not in file.operators


def test_static_activations_have_scale_and_bias_in_the_report(
    formats: Formats,
) -> None:
    step = formats["cnn", Scheme.INT8_STATIC].step
    assert step.note == "activations calibrated on 512 of the 1,257 rows of data.calibration"
    assert len(step.activations) > 5
    assert all(item.scale > 0 and -128 <= item.bias <= 127 for item in step.activations)
    assert formats["cnn", Scheme.INT8_DYNAMIC].step.activations == ()
