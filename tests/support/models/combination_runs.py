"""Runs a combination of the passes on a trained model of its kind."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import manifest as manifests
from modelpress.compression import pipeline, recipe
from modelpress.compression.report import document as report
from modelpress.models.types import Kind
from tests.support.models.combinations import CHANNELS, Combination
from tests.support.models.trained import DigitsModels

ROWS = 256  # of each data set


@dataclass(frozen=True)
class Files:
    """A model of one kind with its data sets."""

    model: Path
    training: Path
    evaluation: Path


@pytest.fixture(scope="module")
def files(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Files]:
    folder, digits = tmp_path_factory.mktemp("data"), digits_models.digits
    found = {}
    paths = {Kind.LAYERS: digits_models.cnn, Kind.SAVED_MODEL: digits_models.saved_model}
    for kind, path in paths.items():
        shape = (8, 8, 1) if kind is Kind.LAYERS else (64,)
        found[kind] = Files(path, folder / f"{kind}-training.npz", folder / f"{kind}-evaluation.npz")
        np.savez(found[kind].training, x=digits.train_x[:ROWS].reshape(-1, *shape), y=digits.train_y[:ROWS])
        np.savez(found[kind].evaluation, x=digits.test_x[:ROWS].reshape(-1, *shape), y=digits.test_y[:ROWS])
    return found


def makes_an_artifact(one: Combination, found: Files, folder: Path) -> None:
    """Compress for real, and look at what came out."""
    _run(one, found, folder)
    made = manifests.load_verified(folder / "out")
    names = [
        *(["pruning"] if one.pruning != "none" else []),
        *(["fineTuning"] if one.tuning and not one.penalized else []),
        *(["weightClipping"] if one.clipping else []),
        *(["quantization"] if one.scheme else []),
    ]
    assert [step.name for step in made.passes] == names
    told = report.load(folder / "out")
    assert all(step.tensors for step in told.passes)
    assert [step.training is not None for step in told.passes].count(True) == one.tuning
    assert told.evaluation is not None
    assert told.evaluation.original > 90
    assert told.evaluation.compressed > (90 if one.pruning == "none" else 20)
    if one.of_channels:
        assert told.sizes.compressed_bytes < told.sizes.float32_bytes


def is_refused_before_anything_is_measured(one: Combination, found: Files, folder: Path) -> None:
    """Start what a model without layers cannot have."""
    with pytest.raises(DataError, match=CHANNELS) as caught:
        _run(one, found, folder)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
    assert not list((folder / "out").iterdir())
    assert {path.name for path in (folder / "work").iterdir()} <= {"model", "converter.log"}


def _run(one: Combination, found: Files, folder: Path) -> None:
    request = one.request()
    roles = recipe.of(request).data
    paths = {"training": found.training, "calibration": found.training, "evaluation": found.evaluation}
    inputs = pipeline.Inputs(
        found.model,
        paths["evaluation"],
        f"sha256:{'2' * 64}",
        "3" * 64,
        **{role: paths[role] for role in ("training", "calibration") if role in roles},
    )
    pipeline.compress(request, inputs, folder / "out", folder / "work")
