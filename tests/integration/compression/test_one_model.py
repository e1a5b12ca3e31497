"""One small model through each scheme of CPUs and one of GPUs; tests/matrix has more models of more kinds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelpress.api.evaluation import Metric
from modelpress.api.schemes import DeviceType, Scheme
from modelpress.compression import schemes
from modelpress.compression.evaluation import dataset, evaluation
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.compression.formats import calibration
from modelpress.compression.formats.base import Format, QuantizationTask
from modelpress.compression.formats.litert.backend import LiteRTFormats
from modelpress.compression.formats.litert.converter import Converter
from modelpress.compression.formats.tensorflow.backend import TensorFlowFormats
from modelpress.models.load import load
from modelpress.models.types import LoadedModel, original_bytes
from tests.support.models.trained import DigitsModels
from tests.support.scores import scored

RATIO = 1.5  # of the weights in float32 to the file, at least; files have some KB besides
SCORE = 93  # percent


@pytest.fixture(scope="module")
def model(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(digits_models.functional, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(
    digits_models: DigitsModels, model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    return dataset.load(digits_models.flat_data, folder, model.inputs, model.outputs, labels=True)


@pytest.fixture(scope="module")
def formats(
    model: LoadedModel, data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiteRTFormats]:
    folder = tmp_path_factory.mktemp("formats")
    with Converter(folder) as converter:
        yield LiteRTFormats(model, converter, data.batch(0, 8), folder / "float32")


def is_small_and_right(format: Format, model: LoadedModel, data: Dataset, folder: Path) -> None:
    found = evaluation.predict(format.model, data, folder, batch=64, step="test")
    assert scored(Metric.ACCURACY, data.labels, found, found).compressed >= SCORE
    assert original_bytes(model) / format.bytes >= RATIO


@pytest.mark.parametrize("scheme", schemes.of_device(DeviceType.CPU))
def test_a_scheme_of_cpus(
    formats: LiteRTFormats, model: LoadedModel, data: Dataset, tmp_path: Path, scheme: Scheme
) -> None:
    rows = calibration.prepare(data, model, tmp_path / "rows.npz") if scheme is Scheme.INT8_STATIC else None
    format, step = formats.quantized(QuantizationTask(scheme, rows), tmp_path / "format")
    assert step.tensors
    is_small_and_right(format, model, data, tmp_path / "outputs")


def test_a_scheme_of_gpus(model: LoadedModel, data: Dataset, tmp_path: Path) -> None:
    formats = TensorFlowFormats(model, data.batch(0, 8), tmp_path / "float32")
    format, step = formats.quantized(QuantizationTask(Scheme.INT8_WEIGHTS), tmp_path / "format")
    assert step.tensors
    is_small_and_right(format, model, data, tmp_path / "outputs")
    rows = data.batch(0, 64)
    for name, values in model.call(rows).items():
        np.testing.assert_allclose(format.model.call(rows)[name], values, atol=0.05)
