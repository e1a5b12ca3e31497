"""The layers of a functional model as a list of steps in execution order, to run a part of it at a time.

Models inside the model are taken apart too. A tensor between layers has one number everywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

_Values = dict[int, Any]  # values by the number of their tensor


@dataclass(frozen=True)
class Step:
    """One call of a layer or operation."""

    name: str
    operation: Any
    call: Callable[[Mapping[int, Any]], Any]  # takes the values of `reads`
    reads: tuple[int, ...]
    writes: tuple[int, ...]

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables that it computes with."""
        return list(getattr(self.operation, "variables", ()))


class LayerGraph:
    """All steps of a model; `inputs` and `outputs` are the numbers of its tensors, in its order."""

    def __init__(self, network: keras.Model) -> None:
        self.steps: list[Step] = []
        self._count = 0
        self._dtypes = [tensor.dtype for tensor in network.inputs]
        self.inputs = tuple(self._number() for _ in network.inputs)
        self.outputs = self._add(network, self.inputs)

    def alive(self, index: int) -> tuple[int, ...]:
        """Return the tensors made before step `index` and needed there or later, at the end the outputs."""
        if index == len(self.steps):
            return self.outputs
        made = {*self.inputs, *(number for step in self.steps[:index] for number in step.writes)}
        needed = {*self.outputs, *(number for step in self.steps[index:] for number in step.reads)}
        return tuple(sorted(made & needed))

    def variables(self, start: int, stop: int) -> list[keras.Variable]:
        """Return the variables of the steps start..stop-1, each once."""
        found = {id(item): item for step in self.steps[start:stop] for item in step.variables}
        return list(found.values())

    def entered(self, values: Iterable[Any]) -> _Values:
        """Return inputs of the model in the dtypes that its layers take, by their numbers."""
        return {
            number: tf.cast(value, dtype)
            for number, value, dtype in zip(self.inputs, values, self._dtypes, strict=True)
        }

    def run(
        self, start: int, stop: int, values: _Values, finish: Callable[[Any], Any] | None = None
    ) -> _Values:
        """Compute the steps start..stop-1; takes what is alive there, returns that and what they made.

        `finish` makes of each new tensor what later steps get; a step that hands on what it read, such as
        Dropout, hands on the same tensor, since Keras keeps masks at tensors.
        """
        found = dict(values)
        for step in self.steps[start:stop]:
            results = tf.nest.flatten(step.call(found))
            if finish is not None:
                read = {id(found[number]) for number in step.reads}
                results = [result if id(result) in read else finish(result) for result in results]
            found.update(zip(step.writes, results, strict=True))
        return found

    def _number(self) -> int:
        self._count += 1
        return self._count - 1

    def _add(self, network: Any, inputs: tuple[int, ...]) -> tuple[int, ...]:
        """Add the steps of a model that gets these tensors; return the numbers of its outputs."""
        model = _functional(network)
        numbers = {id(tensor): number for tensor, number in zip(model.inputs, inputs, strict=True)}
        by_depth = model._nodes_by_depth  # there is no public way
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                known = all(id(tensor) in numbers for tensor in node.input_tensors)
                if not node.is_input and known:  # the others belong to another use of the layers
                    self._add_node(node, numbers)
        return tuple(numbers[id(tensor)] for tensor in model.outputs)

    def _add_node(self, node: Any, numbers: dict[int, int]) -> None:
        operation = node.operation
        reads = tuple(numbers[id(tensor)] for tensor in node.input_tensors)
        if _is_plain_call(node):
            entered = tuple(self._enter(operation, index, read) for index, read in enumerate(reads))
            writes = self._add(operation, entered)
        else:
            writes = tuple(self._number() for _ in node.outputs)
            by_tensor = {id(tensor): numbers[id(tensor)] for tensor in node.input_tensors}

            def call(values: Mapping[int, Any]) -> Any:
                arguments, settings = node.arguments.fill_in(
                    {tensor: values[number] for tensor, number in by_tensor.items()}
                )
                return operation(*arguments, **settings)

            self.steps.append(Step(operation.name, operation, call, reads, writes))
        numbers.update((id(tensor), number) for tensor, number in zip(node.outputs, writes, strict=True))

    def _enter(self, model: Any, index: int, read: int) -> int:
        """Add what a model does to its input before its layers get it: a change of the dtype."""
        dtype = _functional(model).inputs[index].dtype
        written = self._number()

        def call(values: Mapping[int, Any]) -> Any:
            value = model.dtype_policy.convert_input(values[read], model.autocast, model.input_dtype)
            converted = tf.cast(value, dtype)
            mask = getattr(values[read], "_keras_mask", None)
            if mask is not None:
                converted._keras_mask = mask
            return converted

        self.steps.append(Step(f"{model.name}/input", None, call, (read,), (written,)))
        return written


def _functional(network: Any) -> Any:
    """Return the functional model behind a sequential one."""
    return getattr(network, "_functional", None) or network


def _is_plain_call(node: Any) -> bool:
    """Whether a model is called with tensors alone, of the ranks of its inputs: it can be taken apart."""
    model = _functional(node.operation)
    if not isinstance(node.operation, keras.Model) or not hasattr(model, "_nodes_by_depth"):
        return False
    inputs = model.inputs
    arguments = node.arguments
    tensors = tf.nest.flatten(list(arguments.args))
    return (
        all(value is None for value in tf.nest.flatten(arguments.kwargs))
        and len(tensors) == len(inputs)
        and all(
            keras.utils.is_keras_tensor(one) and len(one.shape) == len(other.shape)
            for one, other in zip(tensors, inputs, strict=True)
        )
    )
