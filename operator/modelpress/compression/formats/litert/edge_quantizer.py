"""Quantizes the operators of a float32 .tflite file by ai-edge-quantizer, without TensorFlow: whole schemes
and mixtures of them.

That library leaves lookup tables (embeddings) in float32: they are stored as int8 here, with one scale and a
DEQUANTIZE behind the lookup, as the TFLite converter does it. Runs in the converter's process.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.schemes import Algorithm, QuantizerSettings

FEW = 1024  # elements; smaller tables stay float32, as in the TFLite converter
_LARGEST = 127
_GATHER_INT8 = 2  # first version of the operator that takes int8
_DEQUANTIZE_INT8 = 2
_DEQUANTIZE = schema.BuiltinOperator.DEQUANTIZE
_GATHER = schema.BuiltinOperator.GATHER


def quantize(
    float32: Path,
    target: Path,
    base: QuantizerSettings | None,
    exceptions: Mapping[str, QuantizerSettings] | None = None,
    rows: Iterable[Sequence[Any]] = (),
) -> None:
    """Write `float32` with its weights quantized by `base`, None: not; inputs and outputs stay as they are.

    `exceptions` are the settings of single operators, by scope: the names of an operator's outputs, each with
    a semicolon behind it. GPTQ needs `rows`: for each call the arrays in the order of the inputs. Raises
    ValueError or RuntimeError of the library for a model that it cannot do.
    """
    from ai_edge_quantizer import quantizer  # noqa: PLC0415 - imports slowly, and only some need it

    work = quantizer.Quantizer(str(float32))
    if base:
        _configure(work, ".*", base)
    for scope, exception in (exceptions or {}).items():
        _configure(work, f"^{re.escape(scope)}$", exception)  # a later pattern has precedence
    learned = None
    if base and base.algorithm == Algorithm.GPTQ:
        _cut_before_gptq()
        learned = work.calibrate(_calls(float32, rows), num_threads=1)
    done = work.quantize(learned, enable_progress_report=False, enable_progress_bar=False)
    made = bytes(done.quantized_model)
    target.write_bytes(tables_to_int8(made) if base else made)


def _cut_before_gptq() -> None:
    """Give GPTQ the ranges of OCTAV in this process, in place of the largest value of each channel.

    Outputs are closer to float32 by a tenth to a third (measured on dense networks with 4 bits).
    """
    from ai_edge_quantizer import algorithm_manager, qtyping  # noqa: PLC0415 - as above
    from ai_edge_quantizer.algorithms.uniform_quantize import (  # noqa: PLC0415
        common_quantize,
        gptq,
        naive_min_max_quantize,
        octav,
    )
    from ai_edge_quantizer.utils import qsv_utils  # noqa: PLC0415

    def parameters(operator: Any, tensor: Any, values: Any = None, known: Any = None) -> Any:
        if values is None or not known or "activation_tensor_qsv" not in known:
            return naive_min_max_quantize.get_tensor_quant_params(operator, tensor, values, known)
        scale = octav.get_tensor_quant_params(operator, tensor, values).scale
        end = scale * (2 ** (tensor.num_bits - 1) - 1)
        return gptq.get_tensor_quant_params(operator, tensor, values, {**known, "min": -end, "max": end})

    algorithm_manager.register_quantized_op(
        algorithm_manager.AlgorithmName.GPTQ,
        qtyping.TFLOperationName.FULLY_CONNECTED,
        naive_min_max_quantize.init_qsvs,
        calibration_func=gptq.calibrate,
        materialize_func=partial(common_quantize.materialize_fc_conv, parameters),
        update_qsv_func=qsv_utils.gptq_and_moving_average_update,
    )


def _calls(float32: Path, rows: Iterable[Sequence[Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows as calls of the file's signature."""
    key, names = tflite_file.signature(float32)
    return {key: [dict(zip(names, call, strict=True)) for call in rows]}


def _configure(work: Any, scope: str, settings: QuantizerSettings) -> None:
    from ai_edge_quantizer import qtyping  # noqa: PLC0415 - as above

    configure = work.add_dynamic_config if settings.dynamic else work.add_weight_only_config
    configure(scope, qtyping.TFLOperationName.ALL_SUPPORTED, settings.bits)
    if settings.dense_bits != settings.bits:
        dense = qtyping.TFLOperationName.FULLY_CONNECTED
        configure(scope, dense, settings.dense_bits, algorithm_key=_algorithm(settings.algorithm))


def _algorithm(algorithm: Algorithm) -> str:
    """Return the library's name of an algorithm."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName  # noqa: PLC0415 - as above

    other = AlgorithmName.MIN_MAX_UNIFORM_QUANT
    return str(other.value if algorithm == Algorithm.MIN_MAX else AlgorithmName[algorithm].value)


def tables_to_int8(data: bytes) -> bytes:
    """Return the .tflite file `data` with the float32 tables of its GATHER operators as int8.

    q = round(x / s) with s = max|x| / 127 and the zero point 0. A table that another operator reads as well
    stays float32.
    """
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    _inline(model, data)
    for graph in model.subgraphs:
        for index in [index for index, _ in _tables(model, graph)]:
            _to_int8(model, graph, index)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _inline(model: Any, data: bytes) -> None:
    """Read the buffers that the library wrote behind the flatbuffer, as it does for larger models."""
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 stand for none
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0


def _tables(model: Any, graph: Any) -> Iterator[tuple[int, Any]]:
    """Yield the indices of constant float32 tensors that only GATHER reads, as its table."""
    for index, tensor in enumerate(graph.tensors):
        values = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or values is None or len(values) < 4 * FEW:
            continue
        readers = [operator for operator in graph.operators if index in operator.inputs]
        lookups = [op for op in readers if _code(model, op) == _GATHER and op.inputs[0] == index]
        shared = sum(other.buffer == tensor.buffer for each in model.subgraphs for other in each.tensors) > 1
        if lookups and len(lookups) == len(readers) and index not in graph.outputs and not shared:
            yield index, tensor


def _to_int8(model: Any, graph: Any, index: int) -> None:
    table = graph.tensors[index]
    values = np.frombuffer(bytes(model.buffers[table.buffer].data), np.float32)
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        return
    scale = np.float32(largest / _LARGEST) if largest else np.float32(1)
    stored = np.clip(np.rint(values.astype(np.float64) / float(scale)), -_LARGEST, _LARGEST)
    model.buffers[table.buffer].data = stored.astype(np.int8).view(np.uint8)
    table.type, table.quantization = schema.TensorType.INT8, _parameters(scale)
    operators = []
    for operator in graph.operators:
        operators.append(operator)
        if index in operator.inputs:
            operators.append(_dequantized(model, graph, operator, scale))
    graph.operators = operators


def _dequantized(model: Any, graph: Any, gather: Any, scale: np.float32) -> Any:
    """Make `gather` give int8, and return the operator that makes its old output of that."""
    output = int(gather.outputs[0])
    before = graph.tensors[output]
    found = schema.TensorT()
    found.name = bytes(before.name) + b"/int8"
    found.shape, found.shapeSignature, found.hasRank = before.shape, before.shapeSignature, before.hasRank
    found.type, found.quantization = schema.TensorType.INT8, _parameters(scale)
    found.buffer = 0  # the empty buffer of every model
    graph.tensors.append(found)
    gather.opcodeIndex = _opcode(model, _GATHER, _GATHER_INT8)
    gather.outputs = [len(graph.tensors) - 1]
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, _DEQUANTIZE, _DEQUANTIZE_INT8)
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [output]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def _parameters(scale: np.float32) -> Any:
    parameters = schema.QuantizationParametersT()
    parameters.scale, parameters.zeroPoint = [float(scale)], [0]
    return parameters


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _opcode(model: Any, builtin: int, version: int) -> int:
    """Return the index of an operator code of at least `version`, which is added where it is missing."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version >= version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, builtin, version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
