"""Models of mixed precision, computed."""

from pathlib import Path
from typing import Any

import pytest

from modelpress.models.load import load
from tests.support.models import of_formats as format_models


@pytest.mark.parametrize("make", [format_models.mixed_float16, format_models.exported_mixed])
def test_a_model_of_mixed_precision_computes_as_its_float32_weights_say(tmp_path: Path, make: Any) -> None:
    """As a reference the same weights in a network whose policy is float32."""
    import keras
    import numpy as np

    path = make(tmp_path)
    rows = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32)
    original = keras.saving.load_model(format_models.mixed_float16(tmp_path))
    image = keras.Input((8, 8, 3))
    seen = keras.layers.Flatten()(keras.layers.Conv2D(32, 3, activation="relu")(image))
    label = keras.layers.Dense(4)(keras.layers.Dense(32, activation="relu")(seen))
    plain = keras.Model(image, label)
    plain.set_weights(original.get_weights())
    model = load(path, tmp_path / "w")
    found = next(iter(model.call({model.inputs[0].name: rows}).values()))
    assert found.dtype == np.float32
    assert np.abs(found - plain(rows).numpy()).max() < 1e-5
    assert np.abs(found - original(rows).numpy()).max() < 2e-2
