"""Scores of outputs that are numbers, in percent; higher is better. Pure numpy.

Scores by row make a paired comparison of two models on the same rows possible: the mean of the rows is the
score, and their spread is its error. Where a score is no mean, the number of row i is the score plus N times
the change of the score with the row's weight (the infinitesimal jackknife, Efron 1982).
"""

from collections.abc import Iterator, Mapping

import numpy as np

from modelpress.compression.evaluation import decisions
from modelpress.compression.evaluation.intervals import Rows
from modelpress.models.types import Array

WORST = float("inf")  # relative error of outputs that are no numbers
LOWEST = -9999.0  # stands for any lower R2, and for the score of outputs that are no numbers
_CHUNK = 4096  # rows that are computed at once
_STEPS = 4  # values that differ by so many steps of their dtype are the same


def cosine_similarity(original: Array, compressed: Array) -> Rows:
    """Return the cosine of the angle between the two outputs of each row, all axes flattened.

    Two zero vectors are equal (100), one zero vector has nothing in common with another (0).
    """
    rows = np.empty(len(original), dtype=np.float64)
    for start in range(0, len(original), _CHUNK):
        a = np.asarray(original[start : start + _CHUNK], dtype=np.float64).reshape(-1, _row_size(original))
        b = np.asarray(compressed[start : start + _CHUNK], dtype=np.float64).reshape(-1, _row_size(original))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        both_zero = ~a.any(axis=1) & ~b.any(axis=1)
        cosine = np.divide((a * b).sum(axis=1), norms, out=np.zeros(len(a)), where=norms > 0)
        rows[start : start + _CHUNK] = 100.0 * np.where(both_zero, 1.0, cosine)
    return rows


def r2_rows(labels: Array, outputs: Array) -> Rows:
    """Return rows of the coefficient of determination, the mean over all columns whose labels vary.

    As scikit-learn's r2_score, but that columns of equal labels are left out. Raises ValueError where no
    labels vary.
    """
    size = _row_size(outputs)
    return explained(labels.reshape(-1, 1, size), outputs.reshape(-1, 1, size))


def explained(expected: Array, found: Array) -> Rows:
    """Return rows of 1 - E/S, the mean over the columns of arrays (rows, positions, columns).

    E sums the squared errors of a column over rows and positions, S the squared distances of what is expected
    from its mean. Columns that are constant are left out. Raises ValueError where all are.
    """
    varies = varying(expected)
    if not varies.any():
        raise ValueError("all columns are constant")
    count = expected.shape[0] * expected.shape[1]
    mean = sum(part.sum(axis=(0, 1), dtype=np.float64) for part in decisions.chunks(expected)) / count
    totals = [_squares(parts, mean).sum(axis=1) for parts in _pairs(expected, found)]
    error, spread = np.sum(totals, axis=0)[:, varies]
    share = error / spread
    rows = [
        ((errors - spreads * share) / spread).mean(axis=-1)
        for errors, spreads in (_squares(parts, mean)[:, :, varies] for parts in _pairs(expected, found))
    ]
    return np.asarray(100.0 * (1 - share.mean() - len(expected) * np.concatenate(rows)))


def varying(expected: Array) -> Array:
    """Return which columns of an array (rows, positions, columns) are not constant, as booleans."""
    low = np.min([part.min(axis=(0, 1)) for part in decisions.chunks(expected)], axis=0).astype(np.float64)
    high = np.max([part.max(axis=(0, 1)) for part in decisions.chunks(expected)], axis=0).astype(np.float64)
    resolution = _STEPS * np.finfo(expected.dtype).eps if expected.dtype.kind == "f" else 0.0
    return np.asarray(~(high - low <= resolution * np.maximum(abs(low), abs(high))))


def _pairs(expected: Array, found: Array) -> Iterator[tuple[Array, Array]]:
    step = decisions.rows_at_once(expected)
    for start in range(0, len(expected), step):
        a, b = expected[start : start + step], found[start : start + step]
        yield np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)


def _squares(parts: tuple[Array, Array], mean: Array) -> Array:
    """Return squared errors and distances from the mean, (2, rows, columns), summed over positions."""
    expected, found = parts
    return np.asarray([((expected - found) ** 2).sum(axis=1), ((expected - mean) ** 2).sum(axis=1)])


def softmax(logits: Array) -> Array:
    """Return logits as probabilities over the last axis, float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def rows_without_numbers(outputs: Array) -> int:
    """Return how many rows hold NaN or infinity."""
    if outputs.dtype.kind != "f":
        return 0
    starts = range(0, len(outputs), _CHUNK)
    chunks = (
        np.isfinite(outputs[start : start + _CHUNK]).reshape(-1, _row_size(outputs)) for start in starts
    )
    return sum(int((~finite.all(axis=1)).sum()) for finite in chunks)


def _row_size(values: Array) -> int:
    return int(np.prod(values.shape[1:], dtype=np.int64))


def relative_error(expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """Return the largest relative error of one output: |found - expected| / |expected|, in Euclidean norms.

    Outputs that are no numbers have the largest error there is.
    """
    errors = [0.0]
    for name, right in expected.items():
        if rows_without_numbers(found[name]):
            return WORST
        a, b = right.astype(np.float64), found[name].astype(np.float64)
        norm = float(np.linalg.norm(a))
        errors.append(float(np.linalg.norm(b - a)) / (norm or 1.0))
    return max(errors)
