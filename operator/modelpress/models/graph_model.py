"""A model of either kind as one TensorFlow function with its variables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from modelpress.models import roles, value_sizes
from modelpress.models.types import (
    Array,
    Arrays,
    FrozenGraph,
    Kind,
    Role,
    TensorSpec,
    TrainingGraph,
    unsupported,
)

_DTYPES = ("float16", "float32", "int8", "uint8", "int16", "int32", "int64", "bool")


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in the order in which the function takes and returns them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Variable:
    """A `types.Weight` over a TensorFlow variable."""

    def __init__(self, name: str, role: Role, variable: Any) -> None:
        self.name = name
        self.role = role
        self.shape = tuple(int(size) for size in variable.shape)
        self.dtype: str = variable.dtype.name
        self.variable = variable

    def read(self) -> Array:
        """Return a copy of the value."""
        return np.array(self.variable.numpy())

    def write(self, value: Array) -> None:
        """Replace the value."""
        self.variable.assign(value)


class GraphModel:
    """A `types.LoadedModel` over a concrete function with positional inputs and outputs.

    Raises UnsupportedModel where an input or output has no batch axis or a type that cannot be served, and
    InvalidModel where a value inside is too large to compute.
    """

    def __init__(self, kind: Kind, signature: Signature, function: Any, variables: Sequence[Any]) -> None:
        for spec in (*signature.inputs, *signature.outputs):
            _check_spec(spec)
        value_sizes.check(function)
        self.kind = kind
        self.owner: object = None  # what must live as long as the model
        self.training_forward: Callable[..., Any] = function  # positional tensors, as in training
        self.random_states: tuple[Any, ...] = ()  # that training_forward draws from
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self._function = function
        usage = roles.find(function, variables)
        names = _names(variables)
        self.weights = tuple(
            Variable(name, role, variable)
            for name, role, variable in zip(names, usage.roles, variables, strict=True)
        )
        self.constant_bytes = usage.constant_bytes

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute one batch."""
        tensors = [tf.constant(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs]
        results = self._function(*tensors)
        return {spec.name: np.asarray(result) for spec, result in zip(self.outputs, results, strict=True)}

    def frozen_graph(self) -> FrozenGraph:
        """Return the function with its variables as constants."""
        frozen = convert_variables_to_constants_v2(self._function, lower_control_flow=False)
        try:
            data: bytes = frozen.graph.as_graph_def().SerializeToString()
        except ValueError as error:  # protobuf: over 2 GiB
            raise unsupported("the model's weights are over 2 GiB, the limit of a .tflite file") from error
        names = [tuple(tensor.name for tensor in tensors) for tensors in (frozen.inputs, frozen.outputs)]
        return FrozenGraph(data, *names)

    def training_graph(self) -> TrainingGraph:
        """Return the computation over the variables, for gradients and without.

        Gradients go through `training_forward`, which loaders set to something other than the function:
        TensorFlow adds outputs to a function whose gradient is taken, and it could not be frozen any more.
        """

        def inference(tensors: Sequence[Any]) -> Sequence[Any]:
            return list(self._function(*tensors))

        def forward(tensors: Sequence[Any]) -> Sequence[Any]:
            return list(self.training_forward(*tensors))

        variables = tuple(weight.variable for weight in self.weights)
        return TrainingGraph(forward, inference, variables, self.random_states, self.kind is Kind.LAYERS)


def _check_spec(spec: TensorSpec) -> None:
    if spec.dtype not in _DTYPES:
        raise unsupported(f"{spec.name} has dtype {spec.dtype}; accepted are {', '.join(_DTYPES)}")
    if not spec.shape:
        raise unsupported(f"{spec.name} is a scalar: every input and output needs a batch axis")


def _names(variables: Sequence[Any]) -> list[str]:
    """Return unique names; layers of a subclassed model can share one."""
    counts: dict[str, int] = {}
    names = []
    for variable in variables:
        name = variable.name.removesuffix(":0")
        counts[name] = counts.get(name, 0) + 1
        names.append(name if counts[name] == 1 else f"{name}_{counts[name] - 1}")
    return names
