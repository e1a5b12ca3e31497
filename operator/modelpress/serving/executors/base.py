"""What computes: the interface between a model runtime and everything above it.

An executor knows nothing of requests, protocols or event loops. New runtimes implement `Executor` and get an
entry in `runtimes`; nothing above changes.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Sequence[Array]


class InputError(Exception):
    """The runtime refused these values (such as an index out of range); it goes on with others."""


class RowError(Exception):
    """Outputs that are not one entry for each row, of one shape: a property of the model."""


class Executor(Protocol):
    """A model, or a stage of one, on one device.

    It belongs to one thread at a time: the caller sees to it that calls never overlap.
    """

    def run(self, inputs: Arrays) -> list[Array]:
        """Compute the outputs of `inputs`, both in the model's order, without keeping a reference to either.

        Raises InputError where the runtime refuses the values.
        """

    def close(self) -> None:
        """Free the device's memory; no call may follow."""


def rows(arrays: Arrays) -> int:
    """Return the size of the batch axis: axis 0 of every array, the same in all of them."""
    return len(arrays[0])


def concatenate(parts: Sequence[Arrays]) -> list[Array]:
    """Join the arrays of consecutive parts of a batch, in order. Raises RowError where shapes differ."""
    if len(parts) == 1:
        return list(parts[0])
    try:
        return [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]
    except ValueError as error:
        shapes = " and ".join(sorted({str(list(array.shape[1:])) for part in parts for array in part}))
        raise RowError(f"its rows have entries of shapes {shapes}") from error


def check_rows(outputs: Arrays, count: int) -> None:
    """Raise RowError where an output has not one entry for each of `count` rows."""
    for index, array in enumerate(outputs):
        if array.shape[:1] != (count,):
            raise RowError(f"output {index} has shape {list(array.shape)} for {count} rows")
