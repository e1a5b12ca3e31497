"""ModelInfer of the Open Inference Protocol v2 over gRPC: from bytes to arrays and back. Pure functions.

Requests are read from the wire: raw contents and packed floats become views of what came, without a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc import numbers, wire
from modelpress.serving.grpc.wire import tag, text
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.base import Body, DecodedRequest, Encoded, Model
from modelpress.serving.protocols.json_tensors import fit, shown
from modelpress.serving.protocols.names import no_model, no_version
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.protocols.raw_tensors import array_of_raw, raw_of
from modelpress.serving.signature import Tensor

# Fields of ModelInferRequest, of its inputs and outputs, and of entries of maps, as they are tagged.
_NAME, _VERSION, _ID, _INPUTS, _OUTPUTS, _RAW = map(tag, (1, 2, 3, 5, 6, 7))
_TENSOR_NAME, _DATATYPE, _SHAPE, _PARAMETERS, _CONTENTS = map(tag, (1, 2, 3, 4, 5))
_UNPACKED_SHAPE = tag(3, wire.VARINT)
_OUTPUT_NAME, _OUTPUT_PARAMETERS = map(tag, (1, 2))
_KEY = tag(1)

# Fields of InferTensorContents by dtype, and the type of their numbers; the message has none for float16.
_FIELDS = {
    "bool": ("bool_contents", "bool"),
    **dict.fromkeys(("int8", "int16", "int32"), ("int_contents", "int32")),
    "int64": ("int64_contents", "int64"),
    **dict.fromkeys(("uint8", "uint16", "uint32"), ("uint_contents", "uint32")),
    "uint64": ("uint64_contents", "uint64"),
    "float32": ("fp32_contents", "float32"),
    "float64": ("fp64_contents", "float64"),
}
_NUMBERS = {field.name: field.number for field in pb.InferTensorContents.DESCRIPTOR.fields}
_NAMES = {number: name for name, number in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Context:
    """What an answer needs to know of its request."""

    outputs: tuple[int, ...]  # indices of the requested outputs, in the order of the request
    raw: bool  # answered in the form of the request


def check_model(model: Model, name: str, version: str) -> None:
    """Raise NotFound where a request names another model or version than the one that is served."""
    if name != model.name:
        raise no_model(name, model.name)
    if version not in ("", model.revision):
        raise no_version(version, model.name, model.revision)


def model_metadata(model: Model) -> Any:
    """Return the answer to ModelMetadata."""
    signature = model.signature
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=[model.revision],
        platform=model.platform,
        inputs=[_describe(tensor) for tensor in signature.inputs],
        outputs=[_describe(tensor) for tensor in signature.outputs],
    )


def _describe(tensor: Tensor) -> Any:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=DATATYPES[tensor.dtype.name], shape=tensor.shape
    )


@dataclass(slots=True)
class _Request:
    """A ModelInferRequest as it came."""

    name: str
    version: str
    id: str
    inputs: list[memoryview]
    outputs: list[memoryview]
    raw: list[memoryview]


class OipGrpc:
    """Decodes and encodes ModelInfer."""

    name = "oip-grpc"  # in metrics

    def __init__(self, model: Model) -> None:
        self._model = model
        self._inputs = {tensor.name: index for index, tensor in enumerate(model.signature.inputs)}
        self._outputs = {tensor.name: index for index, tensor in enumerate(model.signature.outputs)}
        self._all = tuple(range(len(self._outputs)))
        self._dtypes = [
            tensor.dtype.name for tensor in model.signature.outputs
        ]  # numpy takes long to say them

    def decode(self, body: Body, json_length: int | None = None) -> DecodedRequest:
        """Return the call in a serialized ModelInferRequest. Raises BadRequest or NotFound."""
        request = _request(memoryview(body))
        check_model(self._model, request.name, request.version)
        tensors, raw = self._model.signature.inputs, request.raw
        if raw and len(raw) != len(request.inputs):
            raise BadRequest(
                f"raw_input_contents has {len(raw)} entries, but there are {len(request.inputs)} inputs"
            )
        arrays: list[Array | None] = [None] * len(tensors)
        for number, entry in enumerate(request.inputs):
            index, array = self._input(entry, raw[number] if raw else None, f"inputs[{number}]")
            if arrays[index] is not None:
                raise BadRequest(f"inputs[{number}]: {tensors[index].name!r} is given twice")
            arrays[index] = array
        given = oip.complete(arrays, tensors, self._inputs)
        return DecodedRequest(given, Context(self._requested(request.outputs), bool(raw)), request.id or None)

    def encode(self, call: DecodedRequest, outputs: list[Array]) -> Encoded:
        """Return the serialized ModelInferResponse; `outputs` are in the model's order."""
        context: Context = call.context
        response = pb.ModelInferResponse(
            model_name=self._model.name, model_version=self._model.revision, id=call.id or ""
        )
        tensors = self._model.signature.outputs
        raw = context.raw or any(self._dtypes[index] not in _FIELDS for index in context.outputs)
        for index in context.outputs:
            array, dtype = outputs[index], self._dtypes[index]
            entry = response.outputs.add(
                name=tensors[index].name, datatype=DATATYPES[dtype], shape=array.shape
            )
            if raw:
                response.raw_output_contents.append(bytes(raw_of(array)))
            else:
                name, kind = _FIELDS[dtype]
                numbers.write(entry.contents, name, array.astype(kind, copy=False))
        return Encoded([response.SerializeToString()])

    def _input(self, entry: memoryview, raw: memoryview | None, where: str) -> tuple[int, Array]:
        """Return the index of an input among the model's, and its array."""
        name = datatype = ""
        shape: list[int] = []
        parameters: dict[str, object] = {}
        contents: memoryview | None = None
        for key, value in wire.fields(entry, where):
            if key == _TENSOR_NAME:
                name = text(value, "the name of a tensor")
            elif key == _DATATYPE:
                datatype = text(value, "a datatype")
            elif key in (_SHAPE, _UNPACKED_SHAPE):
                shape += wire.small_varints(value, oip.MAX_RANK + 1, "a shape")
            elif key == _PARAMETERS:
                parameters[_key(value, where)] = None
            elif key == _CONTENTS:
                if contents is not None:
                    raise BadRequest(f"{where}: contents is given twice")
                assert isinstance(value, memoryview)
                contents = value
        index = oip.index_of(name, self._inputs, where)
        tensor, where = self._model.signature.inputs[index], f"{where} {name!r}"
        oip.check_datatype(datatype, tensor, where)
        oip.check_parameters(parameters, where)
        sizes = oip.shape_of(shape, where)
        if raw is None:
            return index, _typed(memoryview(b"") if contents is None else contents, sizes, tensor, where)
        if contents is not None:
            raise BadRequest(f"{where}: either contents or raw_input_contents, not both")
        return index, array_of_raw(raw, sizes, tensor, where)

    def _requested(self, entries: Sequence[memoryview]) -> tuple[int, ...]:
        if not entries:
            return self._all
        indices: list[int] = []
        for number, entry in enumerate(entries):
            where, name = f"outputs[{number}]", ""
            parameters: dict[str, object] = {}
            for key, value in wire.fields(entry, where):
                if key == _OUTPUT_NAME:
                    name = text(value, "the name of a tensor")
                elif key == _OUTPUT_PARAMETERS:
                    parameters[_key(value, where)] = None
            index = oip.index_of(name, self._outputs, where)
            if index in indices:
                raise BadRequest(f"{where}: {name!r} is asked for twice")
            oip.check_parameters(parameters, where)
            indices.append(index)
        return tuple(indices)


def _request(message: memoryview) -> _Request:
    found = _Request("", "", "", [], [], [])
    for key, value in wire.fields(message, "the ModelInferRequest"):
        if key == _NAME:
            found.name = text(value, "model_name")
        elif key == _VERSION:
            found.version = text(value, "model_version")
        elif key == _ID:
            found.id = text(value, "id")
        elif isinstance(value, memoryview):
            if key == _INPUTS:
                found.inputs.append(value)
            elif key == _OUTPUTS:
                found.outputs.append(value)
            elif key == _RAW:
                found.raw.append(value)
    return found


def _key(entry: memoryview | int, where: str) -> str:
    """Return the key of an entry of a map."""
    assert isinstance(entry, memoryview)
    keys = [value for key, value in wire.fields(entry, f"{where}: a parameter") if key == _KEY]
    return text(keys[-1], f"{where}: the name of a parameter") if keys else ""


def _typed(contents: memoryview, shape: list[int], tensor: Tensor, where: str) -> Array:
    """Return the array in an InferTensorContents. Raises BadRequest."""
    field = _FIELDS.get(tensor.dtype.name)
    if field is None:
        raise BadRequest(
            f"{where}: {DATATYPES[tensor.dtype.name]} has no typed contents; send raw_input_contents"
        )
    name, kind = field
    pieces = []
    for key, value in wire.fields(contents, f"{where}: contents"):
        number = key >> 3
        if number == _NUMBERS[name]:
            pieces.append((key, value))
        elif number in _NAMES and (isinstance(value, int) or len(value)):
            raise BadRequest(f"{where}: the values must be in {name}, not in {_NAMES[number]}")
    found, needed = numbers.count(pieces, kind, f"{where}: {name}"), prod(shape)
    if found != needed:
        raise BadRequest(f"{where}: {name} has {found} values, shape {shown(shape)} needs {needed}")
    return fit(numbers.fitting(numbers.read(pieces, kind, where), tensor, where), shape, tensor, where)
