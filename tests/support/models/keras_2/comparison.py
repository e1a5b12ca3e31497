"""Compares a model file that Keras 2 wrote with what that Keras computed."""

from pathlib import Path

import numpy as np

from modelpress.models.load import load
from tests.support.models.keras_2 import cases, expected, material
from tests.support.models.keras_2.material import Release

LARGE = ("ConvNeXtTiny", "DenseNet121", "EfficientNetB0")
SMALL = tuple(name for name in cases.WHOLE if name not in LARGE)
SAVED = (
    "adapted",
    "augmented",
    "translator",
)  # random layers and adapted numbers have functions nobody serves


def check_whole(release: Release, file: str, name: str, work_dir: Path) -> None:
    """Compare a whole model in the `file` that a release wrote of it."""
    check(material.folder(release) / "whole" / name.replace(" ", "_") / file, work_dir)


def check_function(release: Release, name: str, work_dir: Path) -> None:
    """Compare a model of a function of TensorFlow in the file that a release wrote of it."""
    folder = name.replace(" ", "_").replace("/", "by")
    check(material.folder(release) / "functions" / folder / "model.h5", work_dir)


def check_saved(release: Release, name: str, work_dir: Path) -> None:
    """Compare the SavedModel that a release wrote of a whole model."""
    path = material.folder(release) / "whole" / name / "saved"
    if name == "translator":  # a SavedModel has its outputs by name, in another order than the model's
        assert len(load(path, work_dir).outputs) == 2
    else:
        check(path, work_dir)


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
