"""What outputs and labels decide, as whole numbers. Pure numpy.

Outputs of a last axis of several columns decide for the greatest one. One column decides for 1 above a
threshold: 0.5 for probabilities, 0 for logits. Integers, such as class ids and masks, are their own decision.
Further axes count as positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from modelpress.models.types import Array

IGNORED = -1  # an integer label that says nothing of its position
_CHUNK_BYTES = 64 * 2**20


class Reading(StrEnum):
    """How outputs are read."""

    INTEGERS = "integers"  # compared for equality
    GREATEST = "several columns"
    THRESHOLD = "above a threshold"  # one column, or each column for itself


@dataclass(frozen=True)
class Decider:
    """Decides for two models alike; made from the outputs of the original."""

    reading: Reading
    threshold: float = 0.5

    def decisions(self, outputs: Array) -> Array:
        """Return int64 decisions: without the last axis, but where each column decides for itself."""
        if self.reading is Reading.GREATEST:
            return np.asarray(np.argmax(outputs, axis=-1))
        flat = without_last(outputs)
        if self.reading is Reading.THRESHOLD:
            return np.asarray(flat.astype(np.float64) > self.threshold, dtype=np.int64)
        return np.asarray(np.rint(flat) if flat.dtype.kind == "f" else flat).astype(np.int64)


class LabelKind(StrEnum):
    """What labels are, seen beside the outputs."""

    CLASSES = "classes"  # a whole number for each decision, or one-hot rows
    MULTI_HOT = "multi-hot"  # 0 or 1 for each column, not one-hot
    NUMBERS = "numbers"  # values to meet


def decider(
    original: Array, labels: Array | None = None, threshold: float | None = None, *, by_column: bool = False
) -> Decider:
    """Return how outputs are decided; `by_column`: each of several columns for itself.

    Without `threshold` it is 0.5 where all outputs are from 0 to 1, else 0. Raises ValueError where a
    threshold decides nothing.
    """
    if is_integers(original, labels):
        reading = Reading.INTEGERS
    else:
        reading = Reading.GREATEST if several(original.shape) and not by_column else Reading.THRESHOLD
    if reading is Reading.THRESHOLD:
        chosen = threshold if threshold is not None else 0.5 if from_0_to_1(original) else 0.0
        return Decider(reading, chosen)
    if threshold is not None:
        raise ValueError(
            f"evaluation.threshold decides outputs of one column; here {reading.value} decide. Give it to the"
            " others in evaluation.outputs"
        )
    return Decider(reading)


def is_integers(outputs: Array, labels: Array | None = None) -> bool:
    """Whether outputs are class ids or masks: integers, or floats that are whole numbers everywhere.

    Whole floats are none where they are 0 and 1 of a decision, one-hot, or where the labels are of another
    kind: those of logits that happen to be whole.
    """
    if outputs.dtype.kind != "f":
        return True
    if not _are_whole(outputs):
        return False
    if not several(outputs.shape):
        return not are_flags(outputs) and (labels is None or not are_flags(labels))
    fits = labels is None or (labels.shape == outputs.shape and not is_one_hot(labels))
    return fits and not is_one_hot(outputs)


def label_kind(labels: Array, outputs: Array) -> LabelKind:
    """Return what labels are for these outputs of the original."""
    if is_integers(outputs, labels):
        return LabelKind.CLASSES if _are_whole(labels) else LabelKind.NUMBERS
    if not several(outputs.shape):
        return LabelKind.CLASSES if are_flags(labels) else LabelKind.NUMBERS
    if labels.shape == outputs.shape:
        if is_one_hot(labels):
            return LabelKind.CLASSES
        return LabelKind.MULTI_HOT if are_flags(labels) else LabelKind.NUMBERS
    return LabelKind.CLASSES if _are_whole(labels) else LabelKind.NUMBERS


def label_decisions(labels: Array, shape: tuple[int, ...]) -> Array:
    """Return labels as decisions for float outputs of `shape`; -1 in integer labels is IGNORED.

    Labels are whole numbers, one for each position (with or without a last axis of length 1), or one-hot of
    the outputs' own shape. Raises ValueError with a text that names what is wrong.
    """
    columns = several(shape)
    if columns and labels.shape == shape:
        return np.asarray(np.argmax(labels, axis=-1))
    return _in_range(label_integers(labels, shape[:-1] if len(shape) > 1 else shape), shape[-1], columns)


def _in_range(whole: Array, size: int, columns: bool) -> Array:
    classes = size if columns else 2
    found = np.unique(whole)
    if not columns or found.tolist() == [IGNORED]:
        _check_flags(found)
    counted = found[found != IGNORED]
    if counted[0] < 0 or counted[-1] >= classes:
        raise ValueError(f"labels are from {counted[0]} to {counted[-1]}, the model decides 0..{classes - 1}")
    return whole


def label_integers(labels: Array, expected: tuple[int, ...]) -> Array:
    """Return labels as whole numbers of the shape `expected`. Raises ValueError where they are none."""
    flat = without_last(labels) if labels.shape == (*expected, 1) else labels
    if flat.shape != expected:
        raise ValueError(f"labels have shape {labels.shape}, the outputs' decisions have {expected}")
    if flat.dtype.kind == "f":
        if not _are_whole(flat):
            raise ValueError("labels are no whole numbers")
        if (flat == IGNORED).any():
            raise ValueError("labels are from -1 on; -1 is ignored in labels of an integer dtype only")
    return flat.astype(np.int64)


def label_flags(labels: Array, shape: tuple[int, ...]) -> Array:
    """Return labels of 0 and 1 for each column; -1 in integer labels is IGNORED. Raises ValueError."""
    whole = label_integers(labels, shape) if labels.shape != shape else labels
    if not are_flags(whole):
        raise ValueError("the labels are not 0 or 1 for each column")
    _check_flags(np.unique(whole))
    return whole.astype(np.int64)


def _check_flags(found: Array) -> None:
    """Refuse -1 as the other class, and labels that all say nothing; `found` are the different ones."""
    if found.tolist() == [IGNORED]:
        raise ValueError("every label is -1, which is ignored")
    if found.tolist() == [IGNORED, 1]:
        raise ValueError("labels are -1 and 1: give 0 and 1, since -1 means that a position is ignored")


def is_one_hot(labels: Array) -> bool:
    """Whether each row and position has one 1 and otherwise 0."""
    return all(
        bool(((part == 0) | (part == 1)).all() and (part.sum(axis=-1) == 1).all()) for part in chunks(labels)
    )


def probabilities(outputs: Array) -> bool:
    """Return whether outputs are from 0 to 1 and, with several columns, sum to 1 over the last axis."""
    if not from_0_to_1(outputs):
        return False
    if not several(outputs.shape):
        return True
    sums = (part.sum(axis=-1, dtype=np.float64) for part in chunks(outputs))
    return all(np.abs(found - 1).max() <= 1e-2 for found in sums)


def from_0_to_1(outputs: Array) -> bool:
    """Return whether no output is below 0 or, but for rounding, above 1."""
    return all(part.min() >= 0 and part.max() <= 1 + 1e-3 for part in chunks(outputs))


def several(shape: tuple[int, ...]) -> bool:
    """Return whether outputs of a shape have several columns."""
    return len(shape) > 1 and shape[-1] > 1


def without_last(values: Array) -> Array:
    """Return the values without a last axis of length 1."""
    return values[..., 0] if values.ndim > 1 and values.shape[-1] == 1 else values


def chunks(values: Array) -> Iterator[Array]:
    """Return the rows in parts of at most 64 MiB (or one row)."""
    step = rows_at_once(values)
    return (np.asarray(values[start : start + step]) for start in range(0, len(values), step))


def rows_at_once(values: Array) -> int:
    """Return how many rows are at most 64 MiB as float64, at least one."""
    row = 8 * int(np.prod(values.shape[1:], dtype=np.int64))
    return max(1, _CHUNK_BYTES // max(row, 1))


def are_flags(values: Array) -> bool:
    """Return whether all values are 0 or 1, or IGNORED."""
    signed = values.dtype.kind == "i"
    return all(
        bool(((part == 0) | (part == 1) | (signed & (part == IGNORED))).all()) for part in chunks(values)
    )


def _are_whole(values: Array) -> bool:
    return values.dtype.kind != "f" or all(np.array_equal(np.rint(part), part) for part in chunks(values))
