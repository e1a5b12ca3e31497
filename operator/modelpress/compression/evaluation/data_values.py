"""Rules for the values of a data set, the same for every data set: the first that breaks one is found.

- numbers: neither NaN nor infinite, also in the dtype that the model computes in
- inputs of whole numbers: within the range of the input's dtype
- inputs that hold rows of a lookup table (ids): rows that the table has

Pure, and array by array in blocks, so that memory does not grow with the data.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from modelpress.models.types import Array, Table, TensorSpec

_BLOCK_BYTES = 16 * 2**20
_LABELS = np.dtype(np.float32)  # what losses are computed in
_Fault = tuple[Array, str]  # True for each value that breaks a rule, and how it does


def input_fault(spec: TensorSpec, array: Array) -> str | None:
    """Return `row 3: 600 is ...` of the first value that this input cannot take; None where all are right.

    Rows count from 0, as numpy's do.
    """
    return _first(array, lambda block: _input_faults(spec, block))


def label_fault(array: Array) -> str | None:
    """Return the same of the first value that is no label for any output."""
    return _first(array, lambda block: _number_faults(block, _LABELS))


def _input_faults(spec: TensorSpec, block: Array) -> Iterator[_Fault]:
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        outside = (block < limits.min) | (block > limits.max)
        yield outside, f"does not fit into {dtype.name}, which the model takes: {limits.min} to {limits.max}"
    else:
        yield from _number_faults(block, dtype)
    if spec.table is not None:
        yield _outside(block, spec.table), f"is no row of the table {_described(spec.table)}"


def _number_faults(block: Array, dtype: np.dtype[Any]) -> Iterator[_Fault]:
    if block.dtype.kind == "f":
        yield ~np.isfinite(block), "is not a finite number"
    if dtype.kind == "f" and block.dtype != dtype:
        with np.errstate(over="ignore"):
            yield ~np.isfinite(block.astype(dtype)), f"is too large for {dtype.name}"


def _outside(block: Array, table: Table) -> Array:
    rows = np.trunc(block) if block.dtype.kind == "f" else block  # a cast to integers cuts fractions off
    outside: Array = (rows < 0) | (rows >= table.rows)
    return outside


def _described(table: Table) -> str:
    return f"{table.name}, which has rows 0 to {table.rows - 1}"


def _first(array: Array, faults: Callable[[Array], Iterator[_Fault]]) -> str | None:
    row_bytes = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64)))
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(array), step):
        block = np.asarray(array[start : start + step])
        found = [(_first_row(wrong), wrong, why) for wrong, why in faults(block) if wrong.any()]
        if found:
            row, wrong, why = min(found, key=lambda item: item[0])
            return f"row {start + row}: {_shown(block[row][wrong[row]].flat[0])} {why}"
    return None


def _first_row(wrong: Array) -> int:
    return int(wrong.any(axis=tuple(range(1, wrong.ndim))).argmax())


def _shown(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, np.floating) else str(value)
