"""Reads what a .tflite file holds: operators, and constant tensors with their quantization."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from modelpress.artifacts import int4
from modelpress.models.types import Array, unsupported

_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
    schema.TensorType.BOOL: "bool",
    schema.TensorType.INT4: "int4",
}
_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_STATE = ("READ_VARIABLE", "VAR_HANDLE", "ASSIGN_VARIABLE", "CALL_ONCE")


@dataclass(frozen=True)
class Constant:
    """A tensor whose value is in the file. `values` is a view of the file's bytes, for int4 unpacked to int8.

    scale and zero_point are empty for floats; `axis` is the channel axis where they have several elements.
    `dtype` is the stored one and `stored_bytes` the bytes in the file: two int4 share one.
    """

    name: str
    values: Array
    scale: Array
    zero_point: Array
    axis: int
    dtype: str
    stored_bytes: int

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer that the dtype holds."""
        if self.dtype == "int4":
            return int4.LOWEST, int4.LARGEST
        found = np.iinfo(self.dtype)
        return int(found.min), int(found.max)


@dataclass(frozen=True)
class Activation:
    """A tensor that is computed in integers: its value is x = (q - zero_point) * scale."""

    name: str
    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class TfliteFile:
    """Operators, constants and integer activations of all subgraphs."""

    operators: tuple[str, ...]
    constants: tuple[Constant, ...]
    activations: tuple[Activation, ...]


def read(path: Path) -> TfliteFile:
    """Read a file that the converter wrote. Raises UnsupportedModel where its weights are not in it."""
    model = schema.Model.GetRootAs(np.memmap(path, np.uint8, "r"), 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    names = [_OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())] for code in codes]
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    operators = tuple(
        names[graph.Operators(i).OpcodeIndex()] for graph in graphs for i in range(graph.OperatorsLength())
    )
    if stateful := sorted({name for name in operators if name in _STATE}):
        raise unsupported(
            f"the model keeps state between calls ({', '.join(stateful)}), which cannot be served"
        )
    tensors = [graph.Tensors(i) for graph in graphs for i in range(graph.TensorsLength())]
    constants = (_constant(model, tensor) for tensor in tensors)
    activations = (_activation(model, tensor) for tensor in tensors)
    return TfliteFile(
        operators,
        tuple(constant for constant in constants if constant is not None),
        tuple(activation for activation in activations if activation is not None),
    )


def signature(path: Path) -> tuple[str, list[str]]:
    """Return the key of the first signature of a file, and the names of its inputs in the file's order.

    Raises ValueError where it has none.
    """
    model = schema.Model.GetRootAs(np.memmap(path, np.uint8, "r"), 0)
    if not model.SignatureDefsLength():
        raise ValueError("the file has no signature")
    first = model.SignatureDefs(0)
    entries = [first.Inputs(i) for i in range(first.InputsLength())]
    names = {int(entry.TensorIndex()): entry.Name().decode() for entry in entries}
    order = model.Subgraphs(first.SubgraphIndex()).InputsAsNumpy()
    return first.SignatureKey().decode(), [names[int(index)] for index in order]


def reorder(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Put inputs and outputs of the file in the order of these names in its signature, in place.

    A conversion from a SavedModel leaves them in an order of its own. Raises UnsupportedModel where the file
    has others.
    """
    model = schema.Model.GetRootAs(np.memmap(path, np.uint8, "r+"), 0)
    graph, signature = model.Subgraphs(0), model.SignatureDefs(0)
    found_inputs = [signature.Inputs(i) for i in range(signature.InputsLength())]
    found_outputs = [signature.Outputs(i) for i in range(signature.OutputsLength())]
    _reorder("inputs", inputs, found_inputs, graph.InputsAsNumpy())
    _reorder("outputs", outputs, found_outputs, graph.OutputsAsNumpy())


def _reorder(what: str, names: Sequence[str], entries: Sequence[Any], numbers: Array) -> None:
    """Write the tensors of `names` into `numbers`, a view of the file."""
    indices = {entry.Name().decode(): int(entry.TensorIndex()) for entry in entries}
    if sorted(indices) != sorted(names) or sorted(indices.values()) != sorted(numbers.tolist()):
        raise unsupported(f"the model has {len(names)} {what}, the converted one {len(numbers)}")
    numbers[:] = [indices[name] for name in names]


def _constant(model: Any, tensor: Any) -> Constant | None:
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    dtype = _DTYPES.get(tensor.Type())
    if dtype is None or isinstance(data, int) or len(data) == 0:  # 0: the schema's answer for no data
        return None
    quantization = tensor.Quantization()
    scale = quantization.ScaleAsNumpy() if quantization and quantization.ScaleLength() else np.empty(0)
    zero = quantization.ZeroPointAsNumpy() if quantization and quantization.ZeroPointLength() else np.empty(0)
    shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
    values = int4.unpack(data, int(np.prod(shape, dtype=np.int64))) if dtype == "int4" else data.view(dtype)
    return Constant(
        name=tensor.Name().decode(),
        values=values.reshape(shape),
        scale=np.asarray(scale, dtype=np.float64),
        zero_point=np.asarray(zero, dtype=np.int64),
        axis=int(quantization.QuantizedDimension()) if quantization else 0,
        dtype=dtype,
        stored_bytes=len(data),
    )


def _activation(model: Any, tensor: Any) -> Activation | None:
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    quantization, dtype = tensor.Quantization(), _DTYPES.get(tensor.Type())
    constant = not isinstance(data, int) and len(data) > 0
    if constant or dtype is None or quantization is None or quantization.ScaleLength() != 1:
        return None
    zero = int(quantization.ZeroPoint(0)) if quantization.ZeroPointLength() else 0
    return Activation(tensor.Name().decode(), dtype, float(quantization.Scale(0)), zero)
