"""Every quantization scheme of the CPU on four models of different kinds."""

from pathlib import Path

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import DataError, UsageError
from modelpress.api.spec import Scheme
from modelpress.compression import calibration, recipe, tflite_file
from modelpress.compression.formula import TOLERANCE
from modelpress.compression.passes import quantize
from tests.support import small_models
from tests.support.compressed import Made, compress
from tests.support.models import DigitsModels
from tests.support.small_models import TrainedModel

MODELS = ("mlp", "cnn", "depthwise", "text")
SCHEMES = quantize.SCHEMES
INTEGERS = [scheme for scheme in SCHEMES if scheme is not Scheme.FLOAT16]
# bytes of the weights in float32 / bytes of the file, at least; files have some KB besides the weights
RATIOS = {
    "mlp": {"Int8Dynamic": 2.2, "Int8Static": 2.1, "Int4Dynamic": 3.6, "Int8Weights": 2.4, "Float16": 1.6},
    "cnn": {"Int8Dynamic": 3.2, "Int8Static": 3.2, "Int4Dynamic": 5.3, "Int8Weights": 3.3, "Float16": 1.9},
    "depthwise": {
        "Int8Dynamic": 1.2,
        "Int8Static": 1.2,
        "Int4Dynamic": 1.4,
        "Int8Weights": 1.3,
        "Float16": 1.1,
    },
    "text": {"Int8Dynamic": 2.9, "Int8Static": 3.0, "Int4Dynamic": 3.4, "Int8Weights": 3.1, "Float16": 1.8},
}
DROPS = {"Int4Dynamic": 4.0}  # percentage points; 2 for the others, where 539 rows have an error of 0.6


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


class Forms:
    """The form of each model and scheme, made when it is first asked for."""

    def __init__(self, models: dict[str, TrainedModel], folder: Path) -> None:
        self._models = models
        self._folder = folder
        self._made: dict[tuple[str, Scheme], Made] = {}

    def __getitem__(self, key: tuple[str, Scheme]) -> Made:
        if key not in self._made:
            name, scheme = key
            self._made[key] = compress(self._models[name], scheme, self._folder / name / scheme.value)
        return self._made[key]


@pytest.fixture(scope="module")
def forms(models: dict[str, TrainedModel], tmp_path_factory: pytest.TempPathFactory) -> Forms:
    return Forms(models, tmp_path_factory.mktemp("forms"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", MODELS)
def test_each_scheme_makes_each_model_smaller_and_keeps_its_score(
    forms: Forms, name: str, scheme: Scheme
) -> None:
    made = forms[name, scheme]
    scores = made.manifest.scores
    assert scores is not None
    assert scores.original > 85
    assert scores.original - scores.compressed <= DROPS.get(scheme.value, 2.0)
    assert made.report.sizes.ratio >= RATIOS[name][scheme.value]
    assert [spec.dtype for spec in made.manifest.outputs] == ["float32"]


@pytest.mark.parametrize("scheme", INTEGERS)
@pytest.mark.parametrize("name", MODELS)
def test_the_formula_holds_for_every_stored_integer(forms: Forms, name: str, scheme: Scheme) -> None:
    made = forms[name, scheme]
    stored = [constant for constant in tflite_file.read(made.path).constants if constant.scale.size]
    formulas = [tensor.formula for tensor in made.quantization.tensors if tensor.formula]
    assert stored
    assert len(formulas) >= len(stored)
    assert not [
        tensor
        for tensor in made.quantization.tensors
        if tensor.skipped and tensor.skipped.startswith(quantize.UNMATCHED)
    ]
    for item in formulas:
        assert item.largest_error <= TOLERANCE
        assert item.elements_off == 0
        assert len(item.scale) == len(item.bias)


@pytest.mark.parametrize("name", MODELS)
def test_int4_is_for_fully_connected_layers_only(forms: Forms, name: str) -> None:
    stored = tflite_file.read(forms[name, Scheme.INT4_DYNAMIC].path).constants
    kernels = [constant for constant in stored if constant.scale.size]
    assert {constant.values.ndim for constant in kernels if constant.dtype == "int4"} == {2}
    for constant in kernels:
        assert constant.limits[0] <= constant.values.min() <= constant.values.max() <= constant.limits[1]
        assert constant.stored_bytes == -(-constant.values.size * (4 if constant.dtype == "int4" else 8) // 8)


@pytest.mark.parametrize("scheme", INTEGERS)
def test_embeddings_become_int8_with_every_integer_scheme(forms: Forms, scheme: Scheme) -> None:
    tensors = forms["text", scheme].quantization.tensors
    table = next(tensor for tensor in tensors if tensor.role == "embedding")
    assert (table.bytes_before, table.bytes_after) == (512 * 32 * 4, 512 * 32)


@pytest.mark.parametrize("name", MODELS)
def test_int8_weights_compute_in_float(forms: Forms, name: str) -> None:
    file = tflite_file.read(forms[name, Scheme.INT8_WEIGHTS].path)
    assert file.operators.count("DEQUANTIZE") == sum(constant.scale.size > 0 for constant in file.constants)
    assert "QUANTIZE" not in file.operators


def test_static_activations_have_scale_and_bias_in_the_report(
    forms: Forms,
) -> None:
    step = forms["cnn", Scheme.INT8_STATIC].quantization
    assert step.note == "activations calibrated on 512 of the 1,258 rows of data.calibration"
    assert len(step.activations) > 5
    assert all(item.scale > 0 and -128 <= item.bias <= 127 for item in step.activations)
    assert forms["cnn", Scheme.INT8_DYNAMIC].quantization.activations == ()


def test_static_without_calibration_data_is_refused() -> None:
    request = {
        "name": "a",
        "namespace": "b",
        "recipeHash": "c",
        "model": {"uri": "file:///x"},
        "deviceType": "CPU",
        "compression": {"quantization": {"scheme": "Int8Static"}},
    }
    with pytest.raises(UsageError, match=r"Int8Static needs data\.calibration") as caught:
        recipe.of(JobRequest.model_validate(request))
    assert caught.value.reason is Reason.INVALID_SPEC


def test_calibration_rows_that_are_no_numbers_are_refused(
    models: dict[str, TrainedModel], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.npz"
    np.savez(broken, x=np.full((3, 64), np.nan, np.float32))
    model = TrainedModel(models["mlp"].path, models["mlp"].evaluation, broken)
    with pytest.raises(DataError, match=r"data\.calibration, input image: some values are NaN") as caught:
        compress(model, Scheme.INT8_STATIC, tmp_path)
    assert caught.value.reason is Reason.INVALID_DATA


@pytest.mark.parametrize(
    ("rows", "row_bytes", "fixed", "used"),
    [
        (10, 4, 0, 10),
        (10_000, 4, 0, calibration.MAX_ROWS),
        (10_000, calibration.MAX_BYTES // 8, 0, 8),
        (10, calibration.MAX_BYTES * 2, 0, 1),
        (100, 4, 32, 96),
        (31, 4, 32, 0),
        (64, calibration.MAX_BYTES // 8, 32, 32),  # a call needs its batch
    ],
)
def test_calibration_rows_are_bounded(rows: int, row_bytes: int, fixed: int, used: int) -> None:
    assert calibration.sample_size(rows, row_bytes, fixed) == used


def test_a_loop_that_crashes_the_converter_is_named(tmp_path: Path) -> None:
    """Static int8 of a recurrent layer that is not unrolled."""
    import keras

    series = keras.Input((8, 8), batch_size=4)
    label = keras.layers.Dense(10, activation="softmax")(keras.layers.LSTM(8)(series))
    path, data = tmp_path / "loop.keras", tmp_path / "data.npz"
    keras.Model(series, label).save(path)
    np.savez(data, x=np.random.default_rng(0).random((8, 8, 8), np.float32))
    agreement = {"metric": "Agreement", "minScore": "1%"}
    message = r"scheme Int8Static: the converter crashed \(its operators WHILE"
    with pytest.raises(DataError, match=message) as caught:
        compress(TrainedModel(path, data, data), Scheme.INT8_STATIC, tmp_path, evaluation=agreement)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
