"""Calibration data of Int8Static and GPTQ: a bounded sample of data.calibration as a file for the process of
the converter.

The ranges of the activations are their smallest and largest values on these rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelpress.compression.evaluation import evaluation, holdout
from modelpress.compression.evaluation.dataset import Dataset, invalid
from modelpress.compression.evaluation.evaluation import CallableModel
from modelpress.models.types import TensorSpec

MAX_ROWS = 512  # ranges change little beyond some hundred rows, and the time grows with each
MAX_BYTES = 256 * 2**20
_BATCH = 32


@dataclass(frozen=True)
class Calibration:
    """An .npz file with the arrays "0", "1", ... in the order of the model's inputs."""

    path: Path
    rows: int  # rows in the file
    of: int  # rows in data.calibration
    batch: int  # rows of one call

    def describe(self) -> str:
        """Return one sentence for the report."""
        return f"calibrated on {self.rows:,} of the {self.of:,} rows of data.calibration"


def prepare(data: Dataset, model: CallableModel, path: Path) -> Calibration:
    """Write a seeded sample of at most 512 rows and 256 MiB in the order of the data.

    A model with a fixed batch gets whole batches. Raises InvalidData for fewer rows than a fixed batch, and
    for rows that the model does not compute.
    """
    rows = sample_size(data.rows, _row_bytes(data), fixed := fixed_batch(data.specs))
    if rows == 0:
        raise invalid(f"{data.file}: has {data.rows} rows, fewer than the model's batch of {fixed}")
    drawn = holdout.sample(data, rows, path.with_suffix(""))
    evaluation.check_rows(model, drawn, batch := fixed or _BATCH)
    arrays = {str(index): drawn.batch(0, rows)[spec.name] for index, spec in enumerate(data.specs)}
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its option
    return Calibration(path, rows, data.rows, batch)


def sample_size(rows: int, row_bytes: int, fixed: int) -> int:
    """Return how many of `rows` rows are used; a multiple of `fixed` where that is not 0."""
    fitting = min(rows, MAX_ROWS, max(1, MAX_BYTES // max(row_bytes, 1)))
    return fitting if not fixed else max(fitting // fixed, min(1, rows // fixed)) * fixed


def fixed_batch(specs: Sequence[TensorSpec]) -> int:
    """Return the only batch size that the model takes, 0 where it is free."""
    return max(0, *(spec.shape[0] for spec in specs))


def _row_bytes(data: Dataset) -> int:
    return sum(data.inputs[spec.name][:1].size * np.dtype(spec.dtype).itemsize for spec in data.specs)
