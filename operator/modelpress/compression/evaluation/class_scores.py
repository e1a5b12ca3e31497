"""Scores of decisions for classes, in percent; higher is better. Pure numpy.

Arrays of decisions have the shape (rows, ...); further axes are positions. Positions whose label is IGNORED
count for nothing, and rows of nothing else are left out. What the numbers of rows mean says `metrics`.
"""

import numpy as np

from modelpress.compression.evaluation.decisions import IGNORED
from modelpress.compression.evaluation.intervals import Rows
from modelpress.models.types import Array

NOTHING = -2  # no class: a column that is not set


def agreement(expected: Array, found: Array) -> Rows:
    """Return rows of the share of positions where two arrays of decisions are equal."""
    equal = (expected == found).reshape(len(expected), -1)
    return np.asarray(100.0 * equal.mean(axis=1, dtype=np.float64))


def right(expected: Array, found: Array) -> Rows:
    """Return rows of the share of labels that are met. Raises ValueError where all labels are IGNORED."""
    counted = _counted(expected)
    equal = ((expected == found) & (expected != IGNORED)).reshape(len(expected), -1)
    met, counts = equal.sum(axis=1)[counted.any(axis=1)], counted.sum(axis=1)
    counts = counts[counts > 0]
    if (counts == counts[0]).all():
        return np.asarray(100.0 * met / counts)
    share = met.sum() / counts.sum()
    return np.asarray(100.0 * (share + (met - counts * share) / counts.mean()))


def balanced_accuracy(expected: Array, found: Array) -> Rows:
    """Return rows of the mean of the classes' recalls, over the classes that labels have.

    As scikit-learn's balanced_accuracy_score.
    """
    counted = _counted(expected)
    labels, hits = expected.reshape(counted.shape), (expected == found).reshape(counted.shape)
    classes, index = np.unique(labels[counted], return_inverse=True)
    sizes = np.bincount(index)
    recalls = np.bincount(index, weights=hits[counted]) / sizes
    change = (hits[counted] - recalls[index]) / sizes[index] / len(classes)
    return _by_row(float(recalls.mean()), change, counted)


def f1(expected: Array, found: Array) -> Rows:
    """Return rows of the mean of the classes' F1, over the classes of labels or decisions (but NOTHING).

    F1 = 2 TP / (2 TP + FP + FN), as scikit-learn's f1_score of average macro.
    """
    counted = _counted(expected)
    labels, decided = (array.reshape(counted.shape)[counted] for array in (expected, found))
    classes, index = np.unique(np.concatenate([labels, decided]), return_inverse=True)
    wanted, given = index[: len(labels)], index[len(labels) :]
    both = np.bincount(wanted, minlength=len(classes)) + np.bincount(given, minlength=len(classes))
    met = np.bincount(wanted[wanted == given], minlength=len(classes))
    real = classes != NOTHING
    scores, count = np.where(real, 2 * met / both, 0.0), real.sum()
    weights = np.where(real, 1 / both, 0.0) / count
    change = np.where(wanted == given, 2 * weights[wanted], 0.0)
    change -= scores[wanted] * weights[wanted] + scores[given] * weights[given]
    return _by_row(float(scores.sum() / count), change, counted)


def auc(expected: Array, scores: Array) -> Rows:
    """Return rows of the area under the ROC curve, the mean over columns that have both kinds of labels.

    `expected` is 1, 0 or IGNORED in the shape of `scores`, (..., columns). The area is the share of pairs of
    a 1 and a 0 that are in order, ties a half (Mann and Whitney 1947); its error is DeLong's (1988).
    Raises ValueError where no column has both.
    """
    change = np.zeros(scores.shape)
    areas = []
    for column in range(scores.shape[-1]):
        labels, values = expected[..., column], scores[..., column].astype(np.float64)
        positive, negative = values[labels == 1], values[labels == 0]
        if positive.size == 0 or negative.size == 0:
            continue
        above, below = _placed(positive, negative), 1 - _placed(negative, positive)
        areas.append(above.mean())
        change[..., column][labels == 1] = (above - above.mean()) / positive.size
        change[..., column][labels == 0] = (below - above.mean()) / negative.size
    if not areas:
        raise ValueError("the labels are of one class only")
    counted = _counted(expected)
    return _by_row(float(np.mean(areas)), change.reshape(counted.shape)[counted] / len(areas), counted)


def in_top(expected: Array, outputs: Array, k: int) -> Array:
    """Return decisions that are the label where it is among the k greatest columns, else NOTHING.

    Fewer than k other columns are as great: of columns that tie, none is preferred.
    """
    label = np.where(expected == IGNORED, 0, expected)[..., None]
    own = np.take_along_axis(outputs, label, axis=-1)
    as_great = (outputs >= own).sum(axis=-1) - 1
    return np.where(as_great < k, expected, NOTHING)


def _placed(values: Array, others: Array) -> Array:
    """Return for each value the share of the others that are below it; those that are equal are halves."""
    ordered = np.sort(others)
    below, not_above = np.searchsorted(ordered, values), np.searchsorted(ordered, values, side="right")
    return np.asarray((below + not_above) / (2 * len(ordered)))


def _counted(expected: Array) -> Array:
    """Return which positions count, (rows, positions). Raises ValueError where none does."""
    counted = np.asarray(expected != IGNORED).reshape(len(expected), -1)
    if not counted.any():
        raise ValueError("every label is -1, which is ignored")
    return counted


def _by_row(score: float, change: Array, counted: Array) -> Rows:
    """Return the score with what each row changes of it; `change` is that of the positions that count."""
    spread = np.zeros(counted.shape)
    spread[counted] = change
    kept = counted.any(axis=1)
    return np.asarray(100.0 * (score + kept.sum() * spread.sum(axis=1)[kept]))
