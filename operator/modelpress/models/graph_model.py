"""A model of either kind as one TensorFlow function with its variables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.models import names, roles, tables
from modelpress.models.safety import value_sizes
from modelpress.models.types import (
    Array,
    Arrays,
    ComputationError,
    ExportedModel,
    Kind,
    Role,
    TensorSpec,
    TrainingGraph,
    one_line,
    unsupported,
)

LARGEST = 2**31  # bytes that a flatbuffer can address
_AROUND = (
    "[[",
    "File ",
    "Detected at",
    "Graph execution error",
    "<stack traces",
    "Stack trace",
    "(0) ",
    "(1) ",
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
        return np.asarray(self.variable.numpy())  # a copy already, but of scalars

    @property
    def bytes(self) -> int:
        """Bytes of the value."""
        return int(np.prod(self.shape, dtype=np.int64)) * int(self.variable.dtype.size)

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
        _check_rows(signature)
        graph = function.graph.as_graph_def(add_shapes=True)  # a copy with all constants: made once
        value_sizes.check(graph)
        self.kind = kind
        self.owner: object = None  # what must live as long as the model
        self.training_forward: Callable[..., Any] = function  # positional tensors, as in training
        self.random_states: tuple[Any, ...] = ()  # that training_forward draws from
        self.outputs = signature.outputs
        self._function = function
        usage = roles.find(function, graph, variables)
        if usage.quantized:
            names_of = ", ".join(variables[i].name.removesuffix(":0") for i in usage.quantized[:3])
            raise unsupported(
                f"the weights {names_of} are integers: the model is quantized already;"
                " give it as it was before, ModelPress quantizes it"
            )
        labels = names.unique(variable.name.removesuffix(":0") for variable in variables)
        self.weights = tuple(
            Variable(name, role, variable)
            for name, role, variable in zip(labels, usage.roles, variables, strict=True)
        )
        self.constant_bytes = usage.constant_bytes
        self.inputs = tables.mark(signature.inputs, function, graph, zip(labels, variables, strict=True))

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute one batch."""
        tensors = [tf.constant(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs]
        with computing():
            results = self._function(*tensors)
        return {spec.name: np.asarray(result) for spec, result in zip(self.outputs, results, strict=True)}

    def export(self, folder: Path) -> ExportedModel:
        """Write the function and its variables as a SavedModel.

        The weights stay in files of their own: a graph that holds them as constants is copied by each step of
        a conversion (23 times the model's bytes at the peak, measured, against 4.5).
        """
        return self._export(self._function, folder)

    def _export(self, computed: Any, folder: Path) -> ExportedModel:
        """Write a function that computes the model over its variables."""
        size = self.constant_bytes + sum(weight.bytes for weight in self.weights)
        if size > LARGEST:
            raise unsupported(
                f"the model's weights are {size / 2**30:.1f} GiB; a .tflite file holds at most 2 GiB"
            )
        inputs, outputs = _numbered("input", len(self.inputs)), _numbered("output", len(self.outputs))
        arguments = [
            tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
            for tensor, name in zip(computed.inputs, inputs, strict=False)  # then what it captures
        ]

        def serve(*tensors: Any) -> dict[str, Any]:
            return dict(zip(outputs, computed(*tensors), strict=True))

        module = tf.Module()
        module.variables_of_the_function = list(computed.variables)  # only what is tracked is written
        function = tf.function(serve, input_signature=arguments).get_concrete_function()
        tf.saved_model.save(module, str(folder), signatures=function)
        return ExportedModel(folder, inputs, outputs)

    def training_graph(self) -> TrainingGraph:
        """Return the computation over the variables, for gradients and without.

        Gradients go through `training_forward`, which loaders set to something other than the function:
        TensorFlow adds outputs to a function whose gradient is taken, and its export would have them too.
        """

        def inference(tensors: Sequence[Any]) -> Sequence[Any]:
            return list(self._function(*tensors))

        def forward(tensors: Sequence[Any]) -> Sequence[Any]:
            return list(self.training_forward(*tensors))

        variables = tuple(weight.variable for weight in self.weights)
        return TrainingGraph(forward, inference, variables, self.random_states, self.kind is Kind.LAYERS)


@contextmanager
def computing() -> Iterator[None]:
    """Tell an error of TensorFlow while it computes as ComputationError or MemoryError."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(_what_went_wrong(error)) from error
    except tf.errors.OpError as error:
        raise ComputationError(_what_went_wrong(error)) from error


def _what_went_wrong(error: Any) -> str:
    """Return the line of an error's text that says it: around it are places in sources and in the graph."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    said = [line for line in lines if line and not line.startswith(_AROUND)]
    return one_line(said[-1].partition(" [Op:")[0] if said else type(error).__name__, 300)


def _check_spec(spec: TensorSpec) -> None:
    if spec.dtype not in _DTYPES:
        raise unsupported(f"{spec.name} has dtype {spec.dtype}; accepted are {', '.join(_DTYPES)}")
    if not spec.shape:
        raise unsupported(f"{spec.name} is a scalar: every input and output needs a batch axis")


def _check_rows(signature: Signature) -> None:
    """Refuse outputs that have a fixed number of entries for any number of rows."""
    if any(spec.shape[0] != -1 for spec in signature.inputs):
        return  # a fixed batch, which has as many entries
    for spec in signature.outputs:
        if spec.shape[0] != -1:
            raise unsupported(
                f"{spec.name} has {spec.shape[0]} entries for any number of rows, not one for each"
            )


def _numbered(what: str, count: int) -> tuple[str, ...]:
    """Return names whose alphabetical order is the model's."""
    return tuple(f"{what}_{i:04}" for i in range(count))
