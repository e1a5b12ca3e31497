"""Scores of predictions in percent; higher is better. Pure numpy.

A decision is the argmax over the last axis, or > 0.5 where that axis has length 1; further axes count as
positions. Scores by row make a paired comparison of two models on the same rows possible.
"""

import numpy as np

from modelpress.compression.evaluation.intervals import Rows
from modelpress.models.types import Array

LOWEST = -9999.0  # stands for any lower R2, and for the score of outputs that are no numbers
_CHUNK = 4096  # rows that are computed at once


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
    expected = shape[:-1] if len(shape) > 1 else shape
    flat = _last_dropped(labels) if labels.shape == (*expected, 1) else labels
    if flat.shape != expected:
        raise ValueError(f"labels have shape {labels.shape}, the outputs' decisions have {expected}")
    whole = flat.astype(np.int64)
    if flat.dtype.kind == "f" and not np.array_equal(whole, flat):
        raise ValueError("labels are no whole numbers")
    if whole.min() < 0 or whole.max() >= classes:
        raise ValueError(
            f"labels are from {whole.min()} to {whole.max()}, the model decides 0..{classes - 1}"
        )
    return whole


def agreement(expected: Array, found: Array) -> Rows:
    """Return for each row the share of positions where two arrays of decisions are equal."""
    equal = (expected == found).reshape(len(expected), -1)
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

    Raises ValueError where the shapes differ.
    """
    return max(LOWEST, float(r2_rows(labels, outputs).mean()))


def r2_rows(labels: Array, outputs: Array) -> Rows:
    """Return a number for each row whose mean is the coefficient of determination, over all columns.

    As scikit-learn's r2_score: a column of equal labels scores 100 where it is met exactly, else 0. The
    spread of the numbers is that of the score to first order (the infinitesimal jackknife, Efron 1982):
    1 - E/S changes with row i by -(e_i - s_i E/S) / S, where E sums the squared errors e, and S the squared
    distances s of the labels from their mean. Raises ValueError where the shapes differ.
    """
    size = _row_size(outputs)
    if len(labels) != len(outputs) or _row_size(labels) != size:
        raise ValueError(f"labels have shape {labels.shape}, the outputs {outputs.shape}")
    expected = np.asarray(labels, dtype=np.float64).reshape(-1, size)
    errors = (expected - np.asarray(outputs, dtype=np.float64).reshape(-1, size)) ** 2
    spread = (expected - expected.mean(axis=0)) ** 2
    error, total = errors.mean(axis=0), spread.mean(axis=0)
    varies = total > 0
    scale = np.where(varies, total, 1.0)
    share = error / scale
    rows = np.where(varies, 1.0 - share - (errors - spread * share) / scale, np.where(error == 0, 1.0, 0.0))
    return np.asarray(100.0 * rows.mean(axis=1))


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


def _last_dropped(values: Array) -> Array:
    return values[..., 0] if values.ndim > 1 and values.shape[-1] == 1 else values
