"""Two halves of data.evaluation for `scheme: Auto`: one chooses, the other judges what was chosen.

The rows are drawn with a fixed seed, so that rows that are sorted by class do not matter and every Job draws
the same ones. Both halves go to files of their own, so that memory does not grow with the data.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from modelpress.compression.evaluation.dataset import Dataset, invalid
from modelpress.models.types import Array

LEAST = 32  # rows of a half
_SEED = 0
_CHUNK_BYTES = 16 * 2**20
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HoldoutSplit:
    """Two data sets without a common row."""

    choosing: Dataset
    judging: Dataset


def split(data: Dataset, folder: Path) -> HoldoutSplit:
    """Draw the halves; an odd row is for judging. Raises InvalidData where there are too few rows."""
    if data.rows < 2 * LEAST:
        raise invalid(
            f"data.evaluation has {data.rows} rows; scheme Auto needs at least {2 * LEAST}: one half chooses,"
            " the other judges"
        )
    choosing, judging = split_indices(data.rows)
    return HoldoutSplit(
        subset(data, choosing, folder / "choosing"), subset(data, judging, folder / "judging")
    )


def split_indices(rows: int) -> tuple[Rows, Rows]:
    """Return which rows choose and which judge, each in the order of the data."""
    order = np.random.default_rng(_SEED).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def sample(data: Dataset, rows: int, folder: Path) -> Dataset:
    """Draw at most `rows` rows, in the order of the data."""
    if data.rows <= rows:
        return data
    drawn = np.random.default_rng(_SEED).choice(data.rows, rows, replace=False)
    return subset(data, np.sort(drawn), folder)


def subset(data: Dataset, rows: Rows, folder: Path) -> Dataset:
    """Copy some rows to files in the folder `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {
        name: _copied(array, rows, folder / f"input{number}.npy")
        for number, (name, array) in enumerate(data.inputs.items())
    }
    labels = {
        name: _copied(array, rows, folder / f"labels{number}.npy")
        for number, (name, array) in enumerate(data.labels.items())
    }
    numbers = rows if data.numbers is None else data.numbers[rows]
    return replace(data, inputs=inputs, labels=labels, rows=len(rows), numbers=numbers)


def _copied(array: Array, rows: Rows, path: Path) -> Array:
    shape = (len(rows), *array.shape[1:])
    target = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=shape)
    row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
    step = max(1, _CHUNK_BYTES // max(1, row_bytes))
    for start in range(0, len(rows), step):
        target[start : start + step] = array[rows[start : start + step]]
    return target
