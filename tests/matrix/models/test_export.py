"""A model with changed weights, exported and converted, computes the same, whatever kind it is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.schemes import Scheme
from modelpress.compression.formats.base import example
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.converter import Converter, Material
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.models import graph_model
from modelpress.models.load import load
from modelpress.models.types import Arrays, LoadedModel
from tests.support.models import of_formats as made

KINDS = (
    made.functional,
    made.nested,
    made.shared,
    made.several,
    made.embedding_any_length,
    made.depthwise,
    made.attention,
    made.lstm_unrolled,
    made.lstm_fixed_batch,
    made.gru_fixed_batch,
    made.keras_2_h5,
    made.exported,
    made.module,
)


def twelve(folder: Path) -> Path:
    """Return a model of twelve inputs and outputs of few shapes, whose names are in no order."""
    import keras

    inputs = [keras.Input((4,), name=name) for name in "mzaybxcwdvet"]
    layers = [keras.layers.Dense(2 + i % 2, name=f"o{(7 * i) % 12}") for i in range(12)]
    keras.Model(inputs, [layer(x) for layer, x in zip(layers, inputs, strict=True)]).save(folder / "12.keras")
    return folder / "12.keras"


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    with Converter(tmp_path_factory.mktemp("converter")) as started:
        yield started


def changed(path: Path, work_dir: Path) -> LoadedModel:
    model = load(path, work_dir)
    for weight in model.weights:
        weight.write((weight.read() * 0.5).astype(weight.dtype))
    return model


def check(model: LoadedModel, path: Path, inputs: Arrays, tolerance: float = 1e-4) -> None:
    expected = model.call(inputs)
    found = LiteRTModel(path, model.inputs, model.outputs).call(inputs)
    for name, values in expected.items():
        assert np.allclose(found[name], values, rtol=0, atol=tolerance * max(1, np.abs(values).max())), name


@pytest.mark.parametrize("make", [*KINDS, twelve], ids=lambda make: make.__name__)
def test_the_converted_export_computes_with_the_current_weights(
    make: Callable[[Path], Path], converter: Converter, tmp_path: Path
) -> None:
    model = changed(make(tmp_path), tmp_path / "work")
    before = model.call(inputs := example(model.inputs))
    exported = model.export(tmp_path / "export")
    target = tmp_path / "float32.tflite"
    converter.convert(exported, None, target)
    assert not set(tflite_file.read(target).operators) & {"VAR_HANDLE", "READ_VARIABLE"}
    check(model, target, inputs)
    assert target.stat().st_size > sum(4 * weight.read().size for weight in model.weights) * 0.9
    for name, values in model.call(inputs).items():  # the export left the model as it was
        assert np.array_equal(values, before[name])


def test_calibration_finds_each_of_many_inputs(converter: Converter, tmp_path: Path) -> None:
    model = changed(twelve(tmp_path), tmp_path / "work")
    exported = model.export(tmp_path / "export")
    converter.convert(exported, None, tmp_path / "float32.tflite")
    random = np.random.default_rng(0)
    rows = {  # each input has a range of its own
        spec.name: (random.uniform(-1, 1, (64, 4)) * 4.0**place).astype(np.float32)
        for place, spec in enumerate(model.inputs)
    }
    arrays: dict[str, Any] = {str(place): rows[spec.name] for place, spec in enumerate(model.inputs)}
    np.savez(tmp_path / "calibration.npz", **arrays)
    data = Calibration(tmp_path / "calibration.npz", 64, 64, 8)
    target = tmp_path / "static.tflite"
    converter.convert(exported, Scheme.INT8_STATIC, target, Material(tmp_path / "float32.tflite", data))
    check(model, target, rows, tolerance=0.05)


def test_weights_beyond_the_limit_of_a_file_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = load(made.functional(tmp_path), tmp_path / "work")
    monkeypatch.setattr(graph_model, "LARGEST", 1000)  # instead of a model of 2 GiB
    with pytest.raises(DataError, match="GiB") as caught:
        model.export(tmp_path / "export")
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
    assert not (tmp_path / "export").exists()
