"""What the cosine of whole rows cannot see: columns beside far greater ones, and outputs that hardly vary."""

from collections.abc import Iterator

import numpy as np

from modelpress.compression.evaluation import decisions, metrics
from modelpress.models.types import Array

# A column is lost without a trace where its root mean square is below this part of the greatest column's, and
# it never comes near that: a feature that is rarely there does.
_SMALL = 0.01
_NEAR = 0.1
_ENERGY = 0.01  # of the sum of squares: half of the columns must have more
_SEEN = 99.0  # percent: a score that a constant answer must not reach


def of_cosine(original: Array) -> str | None:
    """Return what CosineSimilarity would not see of these outputs; None where it fits."""
    if int(np.prod(original.shape[1:])) == 1:
        return "the cosine of a single number is nothing but its sign"
    if (hidden := hidden_columns(original)) is not None:
        return hidden
    if len(original) < 2:
        return None
    mean = np.mean(original, axis=0, dtype=np.float64)
    constant = float(metrics.cosine_similarity(original, np.broadcast_to(mean, original.shape)).mean())
    if constant < _SEEN:
        return None
    return f"the mean of the outputs alone, whatever the input, would score {constant:.4f} %"


def hidden_columns(original: Array) -> str | None:
    """Return which columns are too small beside the others for a row's cosine; None where none is."""
    return next((reason for _, reason in _hidden(original)), None)


def unlike_axis(original: Array) -> int:
    """Return the axis of the columns: the last one, but where those of another are unlike each other."""
    return next((axis for axis, _ in _hidden(original)), -1)


def _hidden(original: Array) -> Iterator[tuple[int, str]]:
    """Return the axes with columns that are too small beside the others, and which.

    Columns are those of the last axis. A detector has boxes and scores also in the other one of two axes,
    which is looked at where outputs are no numbers from 0 to 1. Classes that share probabilities hide
    nothing.
    """
    if original.ndim < 2 or (decisions.several(original.shape) and decisions.probabilities(original)):
        return
    last = original.ndim - 1
    for axis in (2, 1) if last == 2 and not decisions.from_0_to_1(original) else (last,):
        greatest, energy = _by_column(original, axis)
        size = np.sqrt(energy / (original.size / len(energy)))
        top = size.max()
        small = np.flatnonzero((greatest > 0) & (greatest < _NEAR * top) & (size < _SMALL * top))
        where = "the last axis" if axis == last else f"axis {axis}"
        if small.size:
            yield (
                axis,
                f"columns {listed(small)} of {where} have less than {_SMALL:.0%} of the root mean square of"
                " the greatest one: their loss would not be seen",
            )
        elif axis == last and (count := _faint(energy[greatest > 0])):
            yield (
                axis,
                f"{count} of {len(energy)} columns hold less than {_ENERGY:.0%} of the sum of squares of the"
                " outputs: their loss would hardly be seen",
            )


def listed(numbers: Array) -> str:
    """Return the first numbers, and how many there are."""
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown if len(numbers) <= 8 else f"{shown} ... ({len(numbers)} in all)"


def _by_column(original: Array, axis: int) -> tuple[Array, Array]:
    """Return the greatest magnitude and the sum of squares of each column of an axis.

    The magnitude is 0 for a column that is constant: there is nothing to lose.
    """
    others = tuple(number for number in range(original.ndim) if number != axis)
    size = original.shape[axis]
    low, high, energy = np.full(size, np.inf), np.full(size, -np.inf), np.zeros(size)
    for part in decisions.chunks(original):
        values = part.astype(np.float64)
        low, high = np.minimum(low, values.min(axis=others)), np.maximum(high, values.max(axis=others))
        energy += (values**2).sum(axis=others)
    return np.where(low == high, 0.0, np.maximum(abs(low), abs(high))), energy


def _faint(energy: Array) -> int:
    """Return how many columns, the smallest ones, hold almost nothing, where it is half of them or more."""
    shares = np.cumsum(np.sort(energy)) / max(float(energy.sum()), np.finfo(np.float64).tiny)
    count = int((shares < _ENERGY).sum())
    return count if count and 2 * count >= len(energy) else 0
