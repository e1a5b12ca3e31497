"""Recurrent layers step by step: LiteRT has no operators for a loop over rows of which the number is free.

A loop collects its steps in lists of tensors, for which the size of a batch must be known. Steps that are
written one after the other compute the same with any batch, over the same weights.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

MOST_STEPS = 512  # of a layer: the graph of more takes minutes to convert
_LIST = "TensorListReserve"


def loops(network: keras.Model) -> list[keras.layers.RNN]:
    """Return the recurrent layers that compute as a loop, those inside of other layers too."""
    return [
        layer
        for layer in network._flatten_layers()
        if isinstance(layer, keras.layers.RNN) and not layer.unroll
    ]


def can_be_unrolled(function: Any) -> bool:
    """Return whether each loop of a concrete function has a known number of steps, and not too many."""
    found = [_steps(operation) for operation in _operations(function.graph) if operation.type == _LIST]
    return bool(found) and all(steps is not None and steps <= MOST_STEPS for steps in found)


@contextlib.contextmanager
def unrolled(layers: Sequence[keras.layers.RNN]) -> Iterator[None]:
    """Have these layers compute step by step while the context lasts."""
    for layer in layers:
        layer.unroll = True
    try:
        yield
    finally:
        for layer in layers:
            layer.unroll = False


def _operations(graph: Any) -> Iterator[Any]:
    """Yield the operations of a graph, and of the functions that it calls."""
    yield from graph.get_operations()
    for name in graph.as_graph_def().library.function:
        inner = graph._get_function(name.signature.name)
        if inner is not None and hasattr(inner, "graph"):
            yield from inner.graph.get_operations()


def _steps(operation: Any) -> int | None:
    value = tf.get_static_value(operation.inputs[1])
    return None if value is None or int(value) < 0 else int(value)
