"""The three data sets are checked alike, on real models: what is wrong is named, or told in a warning."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression import pipeline
from modelpress.compression.report import document as report
from modelpress.compression.report.document import Report
from tests.support.models.compressed import job_request

ROWS = 64
ROLES = ("evaluation", "calibration", "training")
SPEC: dict[str, Any] = {
    "compression": {"quantization": {"scheme": "Int8Static"}},
    "optimization": {"fineTuning": {"epochs": 1}},
    "evaluation": {"metric": "Agreement", "minScore": "1%"},
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of eight words; one of its two inputs is sliced, so that only TensorFlow knows its range."""
    import keras

    path = tmp_path_factory.mktemp("text") / "text.keras"
    words, pair = (keras.Input((3,), dtype="int32", name=name) for name in ("words", "pair"))
    table = keras.layers.Embedding(8, 4, name="table")
    few = keras.layers.Embedding(4, 12, name="few")(pair[:, 0])
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(table(words)), few])
    keras.Model([words, pair], keras.layers.Dense(3, activation="softmax", name="kind")(hidden)).save(path)
    return path


def compress(model: Path, folder: Path, wrong: str | None, **arrays: Any) -> Report:
    """Compress with three data sets, of which one has other arrays."""
    random, paths = np.random.default_rng(0), {}
    for role in ROLES:
        paths[role] = folder / f"{role}.npz"
        found = {
            "words": random.integers(0, 8, (ROWS, 3)),
            "pair": random.integers(0, 4, (ROWS, 3)),
            "kind": random.integers(0, 3, ROWS),
        }
        np.savez(paths[role], **{**found, **(arrays if wrong in (role, None) else {})})
    fields = {**SPEC, "data": {role: {"uri": path.as_uri()} for role, path in paths.items()}}
    inputs = pipeline.Inputs(model=model, source_digest=f"sha256:{'2' * 64}", artifact_key="3" * 64, **paths)
    pipeline.compress(job_request(model, **fields), inputs, folder / "out", folder / "work")
    return report.load(folder / "out")


def with_one(row: int, column: int, value: int) -> np.ndarray:
    array = np.zeros((ROWS, 3), np.int64)
    array[row, column] = value
    return array


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"words": with_one(40, 1, 8)},
            "array words, row 40: 8 is no row of the table table/embeddings, which",
        ),
        ({"words": with_one(40, 1, 2**31)}, "array words, row 40: 2147483648 does not fit into int32"),
        (
            {"pair": with_one(40, 0, 4)},
            "row 40: the model does not compute it: indices[0] = 4 is not in [0, 4)",
        ),
    ],
)
def test_a_wrong_id_is_named(
    text: Path, tmp_path: Path, role: str, arrays: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        compress(text, tmp_path, role, **arrays)
    assert caught.value.reason is Reason.INVALID_DATA
    message = caught.value.message
    assert message.startswith(f"data.{role}: {role}.npz: "), message
    assert said in message


def test_arrays_that_nothing_reads_are_warned_of_and_the_job_goes_on(text: Path, tmp_path: Path) -> None:
    made = compress(text, tmp_path, None, sample_weight=np.ones(ROWS))
    warned = [line for line in made.warnings if "is not used" in line]
    assert warned == [
        f"data.{role}: {role}.npz: array sample_weight is not used: no input or output is called so"
        for role in ROLES
    ]
