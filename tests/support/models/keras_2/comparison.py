"""Compares a model file that Keras 2 wrote with what that Keras computed."""

from pathlib import Path

import numpy as np

from modelpress.models.load import load
from tests.support.models.keras_2 import expected


def check(path: Path, work_dir: Path) -> None:
    """Load a file of `write` and compare its outputs. Raises AssertionError, and what loading raises."""
    stored = np.load(path.parent / "data.npz")
    model = load(path, work_dir)
    inputs = {spec.name: stored[f"in_{i}"] for i, spec in enumerate(model.inputs)}
    outputs = list(model.call(inputs).values())
    assert len(outputs) == len([key for key in stored if key.startswith("out_")])
    tolerance = expected.TOLERANCES.get(path.parent.name, expected.TOLERANCE)
    for i, found in enumerate(outputs):
        wanted = stored[f"out_{i}"]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
