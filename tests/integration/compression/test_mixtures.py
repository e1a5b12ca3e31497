"""Schemes by operator, on a trained network with convolutions and dense layers, and an unrolled LSTM."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modelpress.api.schemes import Scheme
from modelpress.compression.formats.base import Mixture, Operator, example
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.backend import LiteRTFormats
from modelpress.compression.formats.litert.converter import Converter
from modelpress.models.load import load
from tests.support.models import of_formats as format_models
from tests.support.models.trained import DigitsModels


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    with Converter(tmp_path_factory.mktemp("converter")) as started:
        yield started


@pytest.fixture(scope="module")
def cnn(
    digits_models: DigitsModels, converter: Converter, tmp_path_factory: pytest.TempPathFactory
) -> LiteRTFormats:
    folder = tmp_path_factory.mktemp("cnn")
    model = load(digits_models.cnn, folder)
    return LiteRTFormats(model, converter, example(model.inputs), folder / "float32")


def test_the_operators_of_a_network_are_its_layers_with_weights(cnn: LiteRTFormats) -> None:
    kinds = [(item.kind, item.bytes, item.dense) for item in cnn.operators]
    assert kinds == [
        ("CONV_2D", 4 * 9 * 16, False),
        ("CONV_2D", 4 * 9 * 16 * 32, False),
        ("FULLY_CONNECTED", 4 * 4 * 4 * 32 * 64, True),
        ("FULLY_CONNECTED", 4 * 64 * 10, True),
    ]


def test_the_steps_of_an_unrolled_layer_are_one_operator(converter: Converter, tmp_path: Path) -> None:
    model = load(format_models.lstm_unrolled(tmp_path), tmp_path / "work")
    formats = LiteRTFormats(model, converter, example(model.inputs), tmp_path / "float32")
    recurrent = max(formats.operators, key=lambda item: len(item.scopes))
    assert len(recurrent.scopes) > 2
    mixed, _ = formats.mixed(Mixture(Scheme.INT8_DYNAMIC, {recurrent: Scheme.INT8_WEIGHTS}), tmp_path / "m")
    whole = formats.trial(Mixture(Scheme.INT8_DYNAMIC, {recurrent: Scheme.INT8_DYNAMIC}), tmp_path / "d")
    assert mixed.bytes < whole.bytes + 1024, "its weights are not stored twice"


def test_a_trial_quantizes_what_it_names_and_nothing_else(cnn: LiteRTFormats, tmp_path: Path) -> None:
    for place, operator in enumerate(cnn.operators):
        format = cnn.trial(Mixture(None, {operator: Scheme.INT8_DYNAMIC}), tmp_path / str(place))
        integers = [item for item in tflite_file.read(format.path).constants if item.dtype == "int8"]
        assert [item.values.size for item in integers] == [operator.bytes // 4]


def test_weights_only_operators_are_closer_to_float32_and_as_small(
    cnn: LiteRTFormats, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).random((64, 8, 8, 1), np.float32)
    expected = cnn.float32.model.call({"image": images})["digit"]
    every: dict[Operator, Scheme] = dict.fromkeys(cnn.operators, Scheme.INT8_DYNAMIC)
    dynamic = cnn.trial(Mixture(Scheme.INT8_DYNAMIC, every), tmp_path / "dynamic")
    weights = dict.fromkeys(cnn.operators, Scheme.INT8_WEIGHTS)
    only, report = cnn.mixed(Mixture(Scheme.INT8_DYNAMIC, weights), tmp_path / "weights")
    errors = [
        np.abs(format.model.call({"image": images})["digit"] - expected).max() for format in (dynamic, only)
    ]
    assert errors[1] < errors[0]
    assert only.bytes < dynamic.bytes * 1.2
    assert report.parameters["scheme"] == "Int8Dynamic"
    assert report.parameters["Int8Weights"].count(", ") == 3


def test_int4_holds_where_the_mixture_does_not_say_otherwise(cnn: LiteRTFormats, tmp_path: Path) -> None:
    dense = [item for item in cnn.operators if item.dense]
    format, report = cnn.mixed(Mixture(Scheme.INT4_DYNAMIC, {dense[1]: Scheme.INT8_DYNAMIC}), tmp_path / "m")
    found = {item.values.size: item.dtype for item in tflite_file.read(format.path).constants}
    assert found[dense[0].bytes // 4] == "int4"
    assert found[dense[1].bytes // 4] == "int8"
    assert all(item.skipped is None for item in report.tensors if len(item.shape) > 1)
