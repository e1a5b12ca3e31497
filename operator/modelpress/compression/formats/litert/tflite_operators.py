"""The operators of a float32 .tflite file with weights of their own, as mixtures of schemes name them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from modelpress.compression.formats.base import Operator

_DENSE = schema.BuiltinOperator.FULLY_CONNECTED
_KINDS = {
    _DENSE: "FULLY_CONNECTED",
    schema.BuiltinOperator.CONV_2D: "CONV_2D",
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: "DEPTHWISE_CONV_2D",
    schema.BuiltinOperator.TRANSPOSE_CONV: "TRANSPOSE_CONV",
    schema.BuiltinOperator.BATCH_MATMUL: "BATCH_MATMUL",
}  # those whose activations can be quantized on the fly
_LONGEST = 10_000  # characters of a scope in ai-edge-quantizer


def read(path: Path) -> tuple[Operator, ...]:
    """Return the operators in the order of the graph.

    Operators that share their weights, such as the steps of an unrolled recurrent layer, are one: with two
    schemes the weights would be stored twice.
    """
    model = schema.Model.GetRootAs(np.memmap(path, np.uint8, "r"), 0)
    found: dict[int, Operator] = {}
    for graph, operator in _operators(model):
        kind = _kind(model, operator)
        weights = next(_weights(model, graph, operator), None)
        if kind not in _KINDS or weights is None:
            continue
        scope = _scope(graph, operator)
        first = found.get(weights.Buffer())
        found[weights.Buffer()] = Operator(
            name=first.name if first else scope.split(";")[0],  # the others were merged into it
            kind=_KINDS[kind],
            scopes=(*(first.scopes if first else ()), scope),
            bytes=model.Buffers(weights.Buffer()).DataLength(),
            width=int(weights.Shape(weights.ShapeLength() - 1)) if kind == _DENSE else 0,
        )
    return tuple(found.values())


def _operators(model: Any) -> Iterator[tuple[Any, Any]]:
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for index in range(graph.OperatorsLength()):
            yield graph, graph.Operators(index)


def _kind(model: Any, operator: Any) -> int:
    code = model.OperatorCodes(operator.OpcodeIndex())
    return int(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))


def _weights(model: Any, graph: Any, operator: Any) -> Iterator[Any]:
    """Yield the constant float32 inputs with at least two axes; biases have one."""
    for index in operator.InputsAsNumpy() if operator.InputsLength() else np.empty(0, np.int32):
        if index < 0:
            continue
        tensor = graph.Tensors(int(index))
        stored = model.Buffers(tensor.Buffer()).DataLength()
        if tensor.Type() == schema.TensorType.FLOAT32 and tensor.ShapeLength() >= 2 and stored:
            yield tensor


def _scope(graph: Any, operator: Any) -> str:
    """Return what ai-edge-quantizer matches its patterns with: the names of the outputs."""
    names = (graph.Tensors(int(index)).Name().decode() for index in operator.OutputsAsNumpy())
    return "".join(f"{name};" for name in names)[:_LONGEST]
