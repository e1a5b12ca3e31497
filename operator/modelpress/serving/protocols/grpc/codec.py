"""From the messages of the Open Inference Protocol v2 to arrays and back. Pure functions.

Typed contents are not read value by value where their bytes in the message are already those of an array: a
packed field of floats is a tag, a length and little-endian numbers, so the end of the serialized message is
the array (protobuf.dev/programming-guides/encoding).
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from modelpress.serving.errors import BadRequest, NotFound
from modelpress.serving.executors.base import Array
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.base import Call, Model
from modelpress.serving.protocols.grpc.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
)
from modelpress.serving.protocols.json_tensors import echo, fit, out_of_range, shown
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.protocols.raw_tensors import array_of_raw, raw_of
from modelpress.serving.signature import Tensor

NAME = "oip-grpc"  # in metrics

_LENGTH_DELIMITED = 2  # protobuf's wire type of packed fields
# Fields of InferTensorContents by dtype; the message has none for float16.
_FIELDS = {
    "bool": "bool_contents",
    **dict.fromkeys(("int8", "int16", "int32"), "int_contents"),
    "int64": "int64_contents",
    **dict.fromkeys(("uint8", "uint16", "uint32"), "uint_contents"),
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
}
# Those whose packed bytes are an array's; integers are packed as varints.
_FIXED = frozenset(("float32", "float64", "bool"))
_TAGS = {
    name: field.number << 3 | _LENGTH_DELIMITED
    for name, field in InferTensorContents.DESCRIPTOR.fields_by_name.items()
}


@dataclass(frozen=True, slots=True)
class Context:
    """What an answer needs to know of its request."""

    outputs: tuple[int, ...]  # places of the wanted outputs, in the order asked for
    raw: bool  # answered in the form of the request


def check_model(model: Model, name: str, version: str) -> None:
    """Raise NotFound where a request names another model or version than the one that is served."""
    if name != model.name:
        raise NotFound(f"no model {echo(name)}; this worker serves {model.name!r}")
    if version not in ("", model.revision):
        raise NotFound(f"no version {echo(version)} of {model.name!r}; this worker serves {model.revision!r}")


def model_metadata(model: Model) -> ModelMetadataResponse:
    """Return the answer to ModelMetadata."""
    signature = model.signature
    return ModelMetadataResponse(
        name=model.name,
        versions=[model.revision],
        platform=model.platform,
        inputs=[_describe(tensor) for tensor in signature.inputs],
        outputs=[_describe(tensor) for tensor in signature.outputs],
    )


class OipGrpc:
    """Decodes and encodes ModelInfer."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._inputs = {tensor.name: place for place, tensor in enumerate(model.signature.inputs)}
        self._outputs = {tensor.name: place for place, tensor in enumerate(model.signature.outputs)}
        self._all = tuple(range(len(self._outputs)))
        self._dtypes = [
            tensor.dtype.name for tensor in model.signature.outputs
        ]  # numpy takes long to say them

    def decode(self, request: ModelInferRequest) -> Call:
        """Return the call in a request. Raises BadRequest or NotFound."""
        check_model(self._model, request.model_name, request.model_version)
        tensors = self._model.signature.inputs
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            raise BadRequest(
                f"raw_input_contents has {len(raw)} entries, but there are {len(request.inputs)} inputs"
            )
        arrays: list[Array | None] = [None] * len(tensors)
        for number, entry in enumerate(request.inputs):
            where = f"inputs[{number}]"
            place = oip.place_of(entry.name, self._inputs, where)
            if arrays[place] is not None:
                raise BadRequest(f"{where}: {entry.name!r} is given twice")
            where = f"{where} {entry.name!r}"
            tensor, shape = tensors[place], _shape(entry, tensors[place], where)
            if raw:
                if entry.HasField("contents"):
                    raise BadRequest(f"{where}: either contents or raw_input_contents, not both")
                arrays[place] = array_of_raw(raw[number], shape, tensor, where)
            else:
                arrays[place] = _typed(entry.contents, shape, tensor, where)
        given = oip.complete(arrays, tensors, self._inputs)
        return Call(given, Context(self._wanted(request), bool(raw)), request.id or None)

    def encode(self, call: Call, outputs: list[Array]) -> ModelInferResponse:
        """Return the answer; `outputs` are in the model's order."""
        context: Context = call.context
        response = ModelInferResponse(
            model_name=self._model.name, model_version=self._model.revision, id=call.id or ""
        )
        tensors = self._model.signature.outputs
        raw = context.raw or any(self._dtypes[place] not in _FIELDS for place in context.outputs)
        for place in context.outputs:
            array, dtype = outputs[place], self._dtypes[place]
            entry = response.outputs.add(
                name=tensors[place].name, datatype=DATATYPES[dtype], shape=array.shape
            )
            if raw:
                response.raw_output_contents.append(bytes(raw_of(array)))
            else:
                _fill(entry.contents, array, dtype)
        return response

    def _wanted(self, request: ModelInferRequest) -> tuple[int, ...]:
        if not request.outputs:
            return self._all
        places: list[int] = []
        for number, entry in enumerate(request.outputs):
            where = f"outputs[{number}]"
            place = oip.place_of(entry.name, self._outputs, where)
            if place in places:
                raise BadRequest(f"{where}: {entry.name!r} is asked for twice")
            if entry.parameters:
                oip.check_parameters(entry.parameters, where)
            places.append(place)
        return tuple(places)


def _shape(entry: ModelInferRequest.InferInputTensor, tensor: Tensor, where: str) -> list[int]:
    oip.check_datatype(entry.datatype, tensor, where)
    if entry.parameters:
        oip.check_parameters(entry.parameters, where)
    return oip.shape_of(list(entry.shape), where)


def _typed(contents: InferTensorContents, shape: list[int], tensor: Tensor, where: str) -> Array:
    """Return the array in a typed message. Raises BadRequest."""
    dtype = tensor.dtype
    field = _FIELDS.get(dtype.name)
    if field is None:
        raise BadRequest(f"{where}: {DATATYPES[dtype.name]} has no typed contents; send raw_input_contents")
    if dtype.name in _FIXED:
        values = np.frombuffer(_packed(contents, field, tensor, where), dtype.newbyteorder("<"))
    else:
        _only(contents, field, where)
        values = _integers(getattr(contents, field), tensor, where)
    if prod(shape) != len(values):
        raise BadRequest(
            f"{where}: {field} has {len(values)} values, shape {shown(shape)} needs {prod(shape)}"
        )
    return fit(values, shape, tensor, where)


def _only(contents: InferTensorContents, field: str, where: str) -> None:
    """Raise BadRequest where another field than `field` is filled."""
    for other, _ in contents.ListFields():
        if other.name != field:
            raise BadRequest(f"{where}: the values must be in {field}, not in {other.name}")


def _packed(contents: InferTensorContents, field: str, tensor: Tensor, where: str) -> memoryview:
    """Return the values of a packed field of fixed width as they are in the serialized message."""
    _only(contents, field, where)
    contents.DiscardUnknownFields()  # then the values of `field` are the end of the message
    message = contents.SerializeToString()
    size = len(getattr(contents, field)) * tensor.dtype.itemsize
    return memoryview(message)[len(message) - size :]


def _integers(values: Any, tensor: Tensor, where: str) -> Array:
    wide = np.array(values, np.uint64 if tensor.dtype.kind == "u" else np.int64)
    limits = np.iinfo(tensor.dtype)  # type: ignore[type-var]  # of an integer dtype
    if len(wide) and (wide.min() < limits.min or wide.max() > limits.max):
        place = int(((wide < limits.min) | (wide > limits.max)).argmax())
        raise out_of_range(place, int(wide[place]), tensor, where)
    return wide.astype(tensor.dtype)


def _fill(contents: InferTensorContents, array: Array, dtype: str) -> None:
    """Write an output into a typed message."""
    field = _FIELDS[dtype]
    if dtype in _FIXED:
        values = raw_of(array)
        contents.MergeFromString(b"".join((bytes((_TAGS[field],)), varint(len(values)), values)))
    else:
        getattr(contents, field).extend(array.ravel().tolist())


def varint(value: int) -> bytes:
    """Return protobuf's form of a length: seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _describe(tensor: Tensor) -> ModelMetadataResponse.TensorMetadata:
    return ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=DATATYPES[tensor.dtype.name], shape=tensor.shape
    )
