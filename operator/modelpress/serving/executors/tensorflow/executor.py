"""The GPU executor: a program of TensorFlow, with batches padded to the sizes that were compiled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from modelpress.serving.executors.base import Array, Arrays, InputError, rows
from modelpress.serving.executors.tensorflow.program import why
from modelpress.serving.executors.tensorflow.sizes import padded

_REFUSED = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)


class Part(Protocol):
    """A model, or a stage of one, on devices: a Program or a MeshProgram."""

    @property
    def by_size(self) -> bool:
        """Whether it is prepared for each batch size by itself."""
        ...

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Compute. Raises errors of TensorFlow."""
        ...


@dataclass(frozen=True)
class Flow:
    """What a stage hands to the next one: padded tensors in the memory of a device."""

    rows: int  # that are no padding
    tensors: list[Any]


class TensorFlowExecutor:
    """A model, or a stage of one: the first takes arrays, the last returns them; a Flow is between.

    A batch is padded to one of `sizes` with copies of its first row, which a model that computed that row can
    compute again. Without sizes, nothing is padded: no stage is compiled then.
    """

    def __init__(
        self, program: Part, sizes: list[int] | None, *, first: bool = True, last: bool = True
    ) -> None:
        self.program = program
        self._sizes = sizes
        self._first = first
        self._last = last

    def run(self, inputs: Arrays) -> list[Array]:
        """Compute the outputs of `inputs`."""
        flow = self._enter(inputs) if self._first else _flow(inputs)
        try:
            tensors = self.program(flow.tensors)
            if self._last:
                return [np.asarray(tensor)[: flow.rows] for tensor in tensors]
        except _REFUSED as error:
            raise InputError(why(error)) from error
        return _packed(Flow(flow.rows, tensors))

    def close(self) -> None:
        """Free the variables."""
        del self.program

    def _enter(self, inputs: Arrays) -> Flow:
        count = rows(inputs)
        if self._sizes is None or (self._last and not self.program.by_size):
            return Flow(count, list(inputs))
        return Flow(count, pad(inputs, padded(count, self._sizes)))


def pad(inputs: Arrays, size: int) -> list[Array]:
    """Return arrays of `size` rows: those of `inputs`, then copies of the first one."""
    missing = size - rows(inputs)
    if not missing:
        return list(inputs)
    return [np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) for array in inputs]


def _flow(values: Sequence[Any]) -> Flow:
    (flow,) = values
    assert isinstance(flow, Flow)
    return flow


def _packed(flow: Flow) -> list[Any]:
    """Return a Flow as what stages hand on, which is a list."""
    return [flow]
