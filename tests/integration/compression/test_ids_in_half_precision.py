"""Ids that are floats stay exact on their way to an embedding, whatever the layers compute in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.schemes import Scheme
from modelpress.compression.formats.base import QuantizationTask
from modelpress.compression.formats.tensorflow.backend import TensorFlowFormats
from modelpress.models.load import load

ROWS = 5000  # of the table: float16 holds whole numbers up to 2,048, bfloat16 up to 256


def joined(keras: Any, first: Any, second: Any) -> Any:
    ids = keras.layers.Reshape((2,))(keras.layers.Concatenate()([first, second]))
    return keras.layers.Embedding(ROWS, 64)(ids)


def nested(keras: Any, first: Any, second: Any) -> Any:
    table = keras.Sequential([keras.Input((2,)), keras.layers.Embedding(ROWS, 64)])
    return table(keras.layers.Flatten()(keras.layers.Concatenate()([first, second])))


def beside_numbers(keras: Any, first: Any, second: Any) -> Any:
    """A model of two inputs, of which one is looked up."""
    numbers, ids = keras.Input((16,)), keras.Input((1,))
    found = keras.layers.Flatten()(keras.layers.Embedding(ROWS, 64)(keras.layers.Flatten()(ids)))
    inner = keras.Model([numbers, ids], keras.layers.Concatenate()([found, numbers]))
    features = keras.layers.Dense(16, name="features")(keras.layers.Rescaling(1 / ROWS)(first))
    return inner([features, keras.layers.Reshape((1,))(second)])


@pytest.mark.parametrize("scheme", [Scheme.FLOAT16, Scheme.BFLOAT16, Scheme.INT8_WEIGHTS])
@pytest.mark.parametrize("table", [joined, nested, beside_numbers])
def test_ids_look_up_the_same_rows(tmp_path: Path, table: Callable[..., Any], scheme: Scheme) -> None:
    import keras

    keras.utils.set_random_seed(0)
    inputs = [keras.Input((1,), name=name) for name in ("user", "item")]
    found = keras.layers.Flatten()(table(keras, *inputs))
    hidden = keras.layers.Dense(32, name="hidden")(found)
    keras.Model(inputs, keras.layers.Dense(8)(hidden)).save(tmp_path / "m.keras")
    model = load(tmp_path / "m.keras", tmp_path / "model")
    random = np.random.default_rng(0)
    sample = {name: random.integers(0, ROWS, (64, 1)).astype(np.float32) for name in ("user", "item")}
    formats = TensorFlowFormats(model, sample, tmp_path / "float32")
    format, _ = formats.quantized(QuantizationTask(scheme), tmp_path / "quantized")
    assert format.compute_dtype in ("float16", "bfloat16")
    [expected], [seen] = model.call(sample).values(), format.model.call(sample).values()
    error = np.linalg.norm(seen - expected) / np.linalg.norm(expected)
    assert error < 0.03
    text = (tmp_path / "quantized" / "structure.json").read_text()
    assert "mixed_" in text  # what is no id computes in half of the bits
