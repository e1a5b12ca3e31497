"""Scores of predictions in percent; higher is better. Pure numpy; must not import TensorFlow.

A decision is the argmax over the last axis, or > 0.5 where that axis has length 1; further axes count as
positions. Scores by row make a paired comparison of two models on the same rows possible.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelpress.models.types import Array

Rows = npt.NDArray[np.float64]  # one score from 0 to 100 for each row
LOWEST = -9999.0  # of R2, which has no lower bound, and the score of outputs that are no numbers
_CHUNK = 4096  # rows that are computed at once


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in percentage points."""

    low: float
    high: float


def decisions(outputs: Array) -> Array:
    """Return the decision for every row and position: shape (N,) for outputs of shape (N, classes)."""
    if outputs.ndim == 1 or outputs.shape[-1] == 1:
        return np.asarray(_last_dropped(outputs).astype(np.float64) > 0.5, dtype=np.int64)
    return np.asarray(np.argmax(outputs, axis=-1))


def label_decisions(labels: Array, shape: tuple[int, ...]) -> Array:
    """Return labels as decisions for outputs of `shape`.

    Labels are whole numbers, one for each position (with or without a last axis of length 1), or one-hot of
    the outputs' own shape. Raises ValueError with a text that names what is wrong.
    """
    several = len(shape) > 1 and shape[-1] > 1
    if several and labels.shape == shape:
        return np.asarray(np.argmax(labels, axis=-1))
    classes = shape[-1] if several else 2
    wanted = shape[:-1] if len(shape) > 1 else shape
    flat = _last_dropped(labels) if labels.shape == (*wanted, 1) else labels
    if flat.shape != wanted:
        raise ValueError(f"labels have shape {labels.shape}, the outputs' decisions have {wanted}")
    whole = flat.astype(np.int64)
    if flat.dtype.kind == "f" and not np.array_equal(whole, flat):
        raise ValueError("labels are no whole numbers")
    if whole.min() < 0 or whole.max() >= classes:
        raise ValueError(
            f"labels are from {whole.min()} to {whole.max()}, the model decides 0..{classes - 1}"
        )
    return whole


def agreement(wanted: Array, found: Array) -> Rows:
    """Return for each row the share of positions where two arrays of decisions are equal."""
    equal = (wanted == found).reshape(len(wanted), -1)
    return np.asarray(100.0 * equal.mean(axis=1, dtype=np.float64))


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


def r2(labels: Array, outputs: Array) -> float:
    """Return the coefficient of determination, averaged over all columns; at least `LOWEST`.

    As scikit-learn's r2_score: a column of equal labels scores 100 where it is met exactly, else 0.
    Raises ValueError where the shapes differ.
    """
    size = _row_size(outputs)
    if len(labels) != len(outputs) or _row_size(labels) != size:
        raise ValueError(f"labels have shape {labels.shape}, the outputs {outputs.shape}")
    wanted = np.asarray(labels, dtype=np.float64).reshape(-1, size)
    errors = ((wanted - np.asarray(outputs, dtype=np.float64).reshape(-1, size)) ** 2).sum(axis=0)
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)
    scores = np.where(errors == 0, 1.0, 0.0)
    np.divide(errors, spread, out=errors, where=spread > 0)
    scores = np.where(spread > 0, 1.0 - errors, scores)
    return max(LOWEST, 100.0 * float(scores.mean()))


def rows_without_numbers(outputs: Array) -> int:
    """Return how many rows hold NaN or infinity."""
    if outputs.dtype.kind != "f":
        return 0
    starts = range(0, len(outputs), _CHUNK)
    chunks = (
        np.isfinite(outputs[start : start + _CHUNK]).reshape(-1, _row_size(outputs)) for start in starts
    )
    return sum(int((~finite.all(axis=1)).sum()) for finite in chunks)


def drop_interval(original: Rows, compressed: Rows) -> Interval | None:
    """Return the confidence interval of the mean loss, from the paired differences on the same rows.

    Normal approximation of the mean difference; None for a single row. Rows that are right or wrong (0 or
    100) are counted with half a row more of each kind, as in Agresti and Min, "Simple improved confidence
    intervals for comparing matched proportions" (2005): else a model that loses none of a few rows would
    seem to be certain to lose none at all.
    """
    if len(original) < 2:
        return None
    lost = original - compressed
    if _is_binary(original) and _is_binary(compressed):
        count = len(lost) + 2
        mean = float(lost.sum()) / count
        variance = (float((lost**2).sum()) + 100.0**2) / count - mean**2
    else:
        count, mean, variance = len(lost), float(lost.mean()), float(lost.var(ddof=1))
    half = 1.96 * math.sqrt(variance / count)
    return Interval(mean - half, mean + half)


def _is_binary(rows: Rows) -> bool:
    return bool(np.isin(rows, (0.0, 100.0)).all())


def _row_size(values: Array) -> int:
    return int(np.prod(values.shape[1:], dtype=np.int64))


def _last_dropped(values: Array) -> Array:
    return values[..., 0] if values.ndim > 1 and values.shape[-1] == 1 else values
