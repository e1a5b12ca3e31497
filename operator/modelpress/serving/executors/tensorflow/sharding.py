"""Which variables of which layers are split over the devices of a mesh, and along which axis.

Each layer is split by what it puts out (units, heads, dimensions of an embedding), so that a device computes
its part of the result from all of the input; all other variables are on every device.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from modelpress.models.keras.layer_graph import LayerGraph, Step
from modelpress.models.types import unsupported

_SHARDED = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding)
_NAMES = "Dense, EinsumDense, Embedding and MultiHeadAttention"


def axes(graph: LayerGraph, devices: int) -> dict[int, int]:
    """Return the axis along which each variable is split, by its identity.

    Raises UnsupportedModel, with the name of the largest layer, where none can be split.
    """
    found: dict[int, int] = {}
    for step in graph.steps:
        for layer in _layers(step):
            found.update(_axes(layer, devices))
    if not found:
        largest = max(graph.steps, key=lambda step: _elements(step.variables))
        raise unsupported(
            f"parallelism.tensor is {devices}, and no layer can be split over {devices} devices: split are"
            f" {_NAMES}, where {devices} divides their units, heads or dimensions; the largest layer is"
            f" {largest.name} ({type(largest.operation).__name__})"
        )
    return found


def _layers(step: Step) -> Iterable[keras.Layer]:
    if not isinstance(step.operation, keras.Layer):
        return
    for layer in step.operation._flatten_layers():  # itself and those inside; there is no public way
        if isinstance(layer, _SHARDED):
            yield layer


def _axes(layer: Any, devices: int) -> dict[int, int]:
    """Return the axes of the variables of one layer; {} where its output cannot be split evenly."""
    variables = {variable.name: variable for variable in layer.variables}
    kernel = variables.get("embeddings" if isinstance(layer, keras.layers.Embedding) else "kernel")
    if kernel is None:
        return {}
    if not isinstance(layer, keras.layers.EinsumDense):
        if kernel.shape[-1] % devices:
            return {}
        return {id(variable): len(variable.shape) - 1 for variable in variables.values()}
    inputs, weights, outputs = _letters(layer.equation)
    for axis, letter in enumerate(weights):
        if letter in outputs and letter not in inputs and kernel.shape[axis] % devices == 0:
            found = {id(kernel): axis}
            bias = variables.get("bias")
            if bias is not None and letter in (layer.bias_axes or ""):
                found[id(bias)] = len(bias.shape) - (len(outputs) - outputs.index(letter))
            return found
    return {}


def _letters(equation: str) -> tuple[str, str, str]:
    """Return the letters of "abc,cd->abd" as inputs, weights and outputs, without an ellipsis."""
    operands, outputs = equation.replace(".", "").replace(" ", "").split("->")
    inputs, weights = operands.split(",")
    return inputs, weights, outputs


def _elements(variables: Iterable[keras.Variable]) -> int:
    return sum(int(np.prod(variable.shape, dtype=np.int64)) for variable in variables)
