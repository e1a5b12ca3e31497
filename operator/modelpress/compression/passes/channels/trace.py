"""From Keras layers to a description: the calls of a model in order, nested models opened."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from modelpress.compression.passes.channels import kinds
from modelpress.compression.passes.channels.description import ChannelGraph, Layer, LayerCall
from modelpress.compression.passes.channels.kinds import LayerFacts


@dataclass(frozen=True)
class Recorded:
    """One call: what was called, with which arguments, and what came out."""

    operation: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: Any


@dataclass
class LayerTrace:
    """A model as a list of calls over symbolic tensors, and its description. The layers are the model's."""

    inputs: list[Any]
    functional: type  # the class of functional models, which Keras does not export
    outputs: list[Any] = field(default_factory=list)
    calls: list[Recorded] = field(default_factory=list)
    operations: list[Any] = field(default_factory=list)  # as numbered in `graph`
    names: list[str] = field(default_factory=list)  # unique, also where nested models have layers of one name
    aliases: dict[int, tuple[Any, Any]] = field(default_factory=dict)  # by identity; kept alive here

    def alias(self, tensors: list[Any], others: list[Any]) -> None:
        """Note that tensors are the same: at the inputs and outputs of a nested model."""
        self.aliases.update({id(a): (a, b) for a, b in zip(tensors, others, strict=True) if a is not b})

    def key(self, tensor: Any) -> int:
        """Return what identifies a tensor, whatever model it was seen in."""
        while id(tensor) in self.aliases:
            tensor = self.aliases[id(tensor)][1]
        return id(tensor)

    def graph(self) -> ChannelGraph:
        """Return the description."""
        numbers: dict[int, int] = {}  # a tensor's number, by its identity
        shapes: list[tuple[int | None, ...]] = []

        def number(tensors: Any) -> tuple[int, ...]:
            found = [item for item in keras.tree.flatten(tensors) if isinstance(item, keras.KerasTensor)]
            for tensor in found:
                if (key := self.key(tensor)) not in numbers:
                    numbers[key] = len(shapes)
                    shapes.append(tuple(tensor.shape))
            return tuple(numbers[self.key(tensor)] for tensor in found)

        inputs = number(self.inputs)
        index = {id(operation): i for i, operation in enumerate(self.operations)}
        calls = tuple(
            LayerCall(index[id(item.operation)], number([item.args, dict(item.kwargs)]), number(item.outputs))
            for item in self.calls
        )
        first = {call.layer: call for call in reversed(calls)}
        layers = tuple(
            self._layer(i, shapes[first[i].inputs[0]] if first[i].inputs else (), shapes[first[i].outputs[0]])
            for i in range(len(self.operations))
        )
        return ChannelGraph(layers, calls, tuple(shapes), inputs, number(self.outputs))

    def _layer(self, number: int, before: tuple[int | None, ...], after: tuple[int | None, ...]) -> Layer:
        operation = self.operations[number]
        layer = isinstance(operation, keras.Layer)
        kind = type(operation).__name__
        return kinds.describe(
            LayerFacts(
                name=self.names[number],
                kind=kind if layer else kinds.OPERATION + kind,
                config=operation.get_config() if layer else {},
                weights=tuple(variable.name for variable in operation.weights) if layer else (),
                input=before,
                output=after,
            )
        )


def trace(network: keras.Model) -> LayerTrace:
    """Record the calls of a functional model. Its layers are called once more on symbolic tensors."""
    found = LayerTrace(list(network.inputs), type(network))
    found.outputs = _run(found, network, network.input, {}, "")
    return found


def _run(found: LayerTrace, network: Any, inputs: Any, context: Mapping[str, Any], prefix: str) -> list[Any]:
    """Record the calls inside `network`, whose `inputs` are symbolic inputs; return its output tensors."""

    def visit(operation: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs = {**kwargs, **_accepted(operation, context)}
        outputs = operation(*args, **kwargs)
        if not _opens(operation, args, kwargs, found.functional):
            _record(found, Recorded(operation, args, kwargs, outputs), prefix)
            return outputs
        outer = keras.tree.flatten(args[0])
        inner = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in outer]
        found.alias(inner, outer)
        packed = keras.tree.pack_sequence_as(operation.input, inner)
        made = _run(found, operation, packed, kwargs, f"{prefix}{operation.name}_")
        found.alias(keras.tree.flatten(outputs), made)
        return outputs

    if isinstance(network, keras.Sequential):
        for layer in network.layers:
            inputs = visit(layer, inputs)
        return [inputs]
    copy = keras.models.clone_model(
        network, input_tensors=inputs, clone_function=lambda layer: layer, call_function=visit
    )
    return list(copy.outputs)


def _record(found: LayerTrace, call: Recorded, prefix: str) -> None:
    found.calls.append(call)
    if any(call.operation is operation for operation in found.operations):
        return
    name = call.operation.name
    if name in found.names:
        name = prefix + name
    taken = set(found.names)
    free = next(text for i in range(len(taken) + 1) if (text := f"{name}_{i}" if i else name) not in taken)
    found.operations.append(call.operation)
    found.names.append(free)


def _opens(operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], functional: type) -> bool:
    """Whether a nested model can be replaced by its layers: a graph, called with tensors in its own order."""
    if not isinstance(operation, keras.Sequential) and type(operation) is not functional:
        return False
    named = isinstance(operation.input, dict) or any(isinstance(item, dict) for item in args)
    given = {name for name, value in kwargs.items() if value is not None}
    return len(args) == 1 and not given - {"training"} and not named


def _accepted(operation: Any, context: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the mode in which the nested model around a layer is called, where the layer knows modes."""
    if context.get("training") is None or not isinstance(operation, keras.Layer):
        return {}
    nested = isinstance(operation, keras.Model)
    if nested or "training" in inspect.signature(operation.call).parameters:
        return {"training": context["training"]}
    return {}
