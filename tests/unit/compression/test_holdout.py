"""The rows that choose and those that judge have nothing in common."""

from pathlib import Path

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression.evaluation import holdout
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.models.types import TensorSpec


def data(rows: int) -> Dataset:
    numbers = np.arange(rows, dtype=np.float32)
    specs = (TensorSpec("x", (-1, 2), "float32"),)
    return Dataset({"x": np.stack([numbers, -numbers], axis=1)}, {"y": numbers.astype(np.int64)}, specs, rows)


@pytest.mark.parametrize("rows", [64, 65, 1000])
def test_every_row_is_in_one_half_with_its_label(tmp_path: Path, rows: int) -> None:
    both = holdout.split(data(rows), tmp_path)
    assert (both.choosing.rows, both.judging.rows) == (rows // 2, rows - rows // 2)
    found = [half.batch(0, half.rows)["x"][:, 0] for half in (both.choosing, both.judging)]
    assert sorted(np.concatenate(found).tolist()) == list(range(rows))
    for half, numbers in zip((both.choosing, both.judging), found, strict=True):
        assert half.labels["y"].tolist() == numbers.tolist()


def test_the_same_rows_are_drawn_every_time() -> None:
    first, second = (holdout.split_indices(100) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert 10 < (first[0] < 50).sum() < 40, "rows that are sorted by class are in both halves"


def test_too_few_rows_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"63 rows; scheme Auto needs at least 64") as caught:
        holdout.split(data(63), tmp_path)
    assert caught.value.reason is Reason.INVALID_DATA


def test_a_sample_is_at_most_all_rows(tmp_path: Path) -> None:
    whole = data(100)
    assert holdout.sample(whole, 100, tmp_path) is whole
    assert holdout.sample(whole, 10, tmp_path).rows == 10
