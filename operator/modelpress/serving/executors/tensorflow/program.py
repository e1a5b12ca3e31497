"""One function on one device, compiled by XLA for each batch size that it is prepared for."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Function = Callable[[Sequence[Any]], Sequence[Any]]  # from tensors to tensors

_UNSUPPORTED = "unsupported operations"  # how XLA's message begins
_OPERATOR = re.compile(r"No registered '(\w+)' OpKernel")

_NAMES = re.compile(r"\{\{.*?\}\}|\[Op:[^\]]*\]( name: *)?")  # names of operators in a message

logger = logging.getLogger(__name__)


def why(error: tf.errors.OpError) -> str:
    """Return what is wrong in one line.

    In a graph, TensorFlow says so after the stack of the operator; where several failed, the first of a list.
    """
    lines = [_NAMES.sub("", line).strip() for line in error.message.splitlines()]
    messages = [line for line in lines if line and not line.startswith("[[")]
    roots = [line.partition(": ")[2] for line in messages if line.startswith("(0) ")]
    found = roots or messages[-1:]
    return found[0][:300] if found else type(error).__name__


class Program:
    """A function of tensors whose axis 0 is the batch; only sizes of the batch that are padded differ.

    XLA needs every size: where another axis is free, where the function has an operator that XLA does not
    know, and without `compiled`, it runs as an ordinary graph of TensorFlow instead, for any size.
    """

    def __init__(
        self,
        function: Function,
        arguments: Sequence[tf.TensorSpec],
        device: str,
        variables: Sequence[tf.Variable],
        *,
        compiled: bool = True,
    ) -> None:
        self._function = function
        self._arguments = list(arguments)
        self.device = device
        self.variables = tuple(variables)  # what the function keeps in the memory of the device
        self._compiled: dict[tuple[tuple[int, ...], ...], Any] = {}  # by the shapes of the values
        self._graph: Any = None
        if not compiled or any(None in spec.shape[1:] for spec in self._arguments):
            self._use_graph()

    @property
    def by_size(self) -> bool:
        """Whether it is prepared for each batch size by itself: then only those that were seen are fast."""
        return self._graph is None

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Compute on the device; a batch size that is new is compiled. Values move to the device.

        Raises errors of TensorFlow.
        """
        with tf.device(self.device):
            moved = [
                tf.identity(tf.convert_to_tensor(value, spec.dtype))
                for value, spec in zip(values, self._arguments, strict=True)
            ]
            if self._graph is None:
                try:
                    return list(self._compiled_for(moved)(*moved))
                except tf.errors.InvalidArgumentError as error:
                    if _UNSUPPORTED not in error.message:
                        raise
                    names = ", ".join(sorted(set(_OPERATOR.findall(error.message)))) or "an operator"
                    logger.warning("XLA cannot compile %s: the model runs as a graph, without XLA.", names)
                    self._use_graph()
            return list(self._graph(*moved))

    def _compiled_for(self, values: Sequence[Any]) -> Any:
        shapes = tuple(tuple(value.shape) for value in values)
        if shapes not in self._compiled:
            specs = [tf.TensorSpec(value.shape, value.dtype) for value in values]
            self._compiled[shapes] = self._traced(specs, jit_compile=True)
        return self._compiled[shapes]

    def _use_graph(self) -> None:
        self._graph = self._traced(self._arguments, jit_compile=None)
        self._compiled.clear()

    def _traced(self, specs: Sequence[tf.TensorSpec], jit_compile: bool | None) -> Any:
        def on_device(*values: Any) -> list[Any]:
            with tf.device(self.device):
                return list(self._function(values))

        return tf.function(on_device, jit_compile=jit_compile).get_concrete_function(*specs)
