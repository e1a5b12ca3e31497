"""Models of LiteRT of one operator, with broken settings: some of them end the process that loads them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from modelpress.artifacts.digests import file_sha256
from modelpress.artifacts.manifest import TensorSpec, save
from tests.support.artifact_folders import manifest

OPERATORS, TABLES = schema.BuiltinOperator, schema.BuiltinOptions
_WIDTH = 4  # of input and outputs


@dataclass(frozen=True)
class HostileModel:
    """One operator: `constants` are its inputs before (SPLIT) or behind x; `words` are in its refusal."""

    name: str
    operator: int
    words: str
    table: int = TABLES.NONE
    settings: Any = None
    constants: Sequence[Any] = field(default=())

    def write(self, folder: Path) -> Path:
        """Write an artifact and return its folder."""
        folder.mkdir(parents=True)
        path = folder / "model.tflite"
        path.write_bytes(self._content())
        spec = {"shape": (-1, _WIDTH), "dtype": "float32"}
        found = manifest({"model.tflite": file_sha256(path)})
        tensors = {"inputs": (TensorSpec(name="x", **spec),), "outputs": (TensorSpec(name="y", **spec),)}
        save(found.model_copy(update=tensors), folder)
        return folder

    def _content(self) -> bytes:
        model = schema.ModelT()
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = self.operator, min(self.operator, 127), 1
        model.version, model.operatorCodes, model.buffers = 3, [code], [schema.BufferT()]
        tensors = [_tensor("x"), _tensor("y")]
        for number, values in enumerate(self.constants):
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values, np.int32).tobytes(), np.uint8)
            model.buffers.append(buffer)
            constant = _tensor(f"c{number}")
            constant.shape, constant.shapeSignature = list(np.shape(values)), None
            constant.type, constant.buffer = schema.TensorType.INT32, number + 1
            tensors.append(constant)
        constants = list(range(2, len(tensors)))
        operator, graph = schema.OperatorT(), schema.SubGraphT()
        operator.inputs = [*constants, 0] if self.operator == OPERATORS.SPLIT else [0, *constants]
        operator.outputs = [1]
        operator.builtinOptionsType, operator.builtinOptions = self.table, self.settings
        graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [1], [operator]
        model.subgraphs = [graph]
        return packed(model)


def packed(model: Any) -> bytes:
    """Return the bytes of a model."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name.encode(), schema.TensorType.FLOAT32, 0
    tensor.shape, tensor.shapeSignature = [1, _WIDTH], [-1, _WIDTH]
    return tensor


_NO_PARTS = schema.SplitOptionsT()
_NO_PARTS.numSplits = 0
MODELS = [
    HostileModel("split-in-0-parts", OPERATORS.SPLIT, "SIGSEGV", TABLES.SplitOptions, _NO_PARTS, [1]),
    HostileModel(
        "product-of-one-input",
        OPERATORS.BATCH_MATMUL,
        "model.tflite",  # read beside its inputs: that may end well or by a signal
        TABLES.BatchMatMulOptions,
        schema.BatchMatMulOptionsT(),
    ),
    HostileModel("split", OPERATORS.SPLIT, "SPLIT without its settings", constants=[1]),
    HostileModel("product", OPERATORS.BATCH_MATMUL, "BATCH_MATMUL without its settings"),
    HostileModel(
        "strided-slice",
        OPERATORS.STRIDED_SLICE,
        "STRIDED_SLICE without its settings",
        constants=[[0, 0], [1, 2], [1, 1]],
    ),
    HostileModel(
        "settings-of-another",
        OPERATORS.SPLIT,
        "without its settings",
        TABLES.AddOptions,
        schema.AddOptionsT(),
        [1],
    ),
    HostileModel("custom", OPERATORS.CUSTOM, f"operator {OPERATORS.CUSTOM}, which the converter does not"),
    HostileModel("variable", OPERATORS.READ_VARIABLE, "which the converter does not emit"),
    HostileModel("dilate", OPERATORS.DILATE, "which the converter does not emit", constants=[[0, 0]]),
    HostileModel("of-a-later-release", 100_000, "operator 100000, which the converter does not emit"),
]
