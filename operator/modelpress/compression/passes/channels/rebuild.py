"""The smaller model: each layer again with fewer channels, and the weights that stay."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from modelpress.compression.passes.channels import slicing
from modelpress.compression.passes.channels.description import ChannelGraph, Effect, Layer, Side
from modelpress.compression.passes.channels.ids import Groups
from modelpress.compression.passes.channels.trace import LayerTrace


@dataclass(frozen=True)
class Rebuilt:
    """A functional model, and from which variable each of its variables was made, both by identity."""

    network: keras.Model
    origins: Mapping[int, int]


def rebuild(trace: LayerTrace, graph: ChannelGraph, groups: Groups, gone: AbstractSet[int]) -> Rebuilt:
    """Return a functional model without the channels of the groups `gone`; the old one is not changed.

    All of its layers can be trained, also those that were frozen: what is left must adapt.
    """
    inputs = [
        keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name) for tensor in trace.inputs
    ]
    tensors = {trace.key(old): new for old, new in zip(trace.inputs, inputs, strict=True)}
    layers = [
        _layer(operation, graph.layers[i], _channels(groups, gone, i))
        for i, operation in enumerate(trace.operations)
    ]

    def current(value: Any) -> Any:
        return tensors[trace.key(value)] if isinstance(value, keras.KerasTensor) else value

    for call, recorded in zip(graph.calls, trace.calls, strict=True):
        args, kwargs = keras.tree.map_structure(current, (recorded.args, dict(recorded.kwargs)))
        outputs = layers[call.layer](*args, **kwargs)
        for old, new in zip(keras.tree.flatten(recorded.outputs), keras.tree.flatten(outputs), strict=True):
            tensors[trace.key(old)] = new
    origins: dict[int, int] = {}
    for i, (operation, layer) in enumerate(zip(trace.operations, layers, strict=True)):
        if isinstance(operation, keras.Layer):
            _copy_weights(operation, layer, graph.layers[i], (i, groups, gone))
            pairs = zip(layer.variables, operation.variables, strict=True)
            origins.update({id(new.value): id(old.value) for new, old in pairs})
    return Rebuilt(keras.Model(inputs, [tensors[trace.key(tensor)] for tensor in trace.outputs]), origins)


def _channels(groups: Groups, gone: AbstractSet[int], layer: int) -> int | None:
    """Return how many output channels a layer keeps; None where it keeps all."""
    stay = slicing.positions(groups, gone, layer, Side.OUTPUT)
    return None if stay is None else len(stay)


def _layer(operation: Any, layer: Layer, channels: int | None) -> Any:
    if not isinstance(operation, keras.Layer):
        return operation  # it has no state
    config = {**operation.get_config(), "name": layer.name}
    if channels is not None and layer.setting:
        before = config[layer.setting]
        config[layer.setting] = (*before[:-1], channels) if layer.effect is Effect.KEEP else channels
    new = type(operation).from_config(config)
    new.trainable = True
    return new


def _copy_weights(old: Any, new: Any, layer: Layer, choice: tuple[int, Groups, AbstractSet[int]]) -> None:
    number, groups, gone = choice
    described = {id(variable): weight for variable, weight in zip(old.weights, layer.weights, strict=True)}
    for before, after in zip(old.variables, new.variables, strict=True):
        values = np.asarray(before)
        if weight := described.get(id(before)):
            values = slicing.cut(groups, gone, number, weight, values)
        after.assign(values)
