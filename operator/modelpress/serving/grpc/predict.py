"""PredictionService and ModelService of TensorFlow Serving: from bytes to arrays and back. Pure functions.

The only signature is serving_default and the only version is 1, as over TensorFlow Serving's REST API.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from modelpress.serving.errors import BadRequest, NotFound, TooLarge
from modelpress.serving.executors.base import Array
from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc import numbers, wire
from modelpress.serving.grpc.wire import VARINT, Field, tag, text
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.base import Body, DecodedRequest, Encoded, Model
from modelpress.serving.protocols.json_tensors import check_sizes, echo, fit, shown
from modelpress.serving.protocols.names import no_model, no_version
from modelpress.serving.protocols.raw_tensors import array_of_raw
from modelpress.serving.protocols.tfserving_rest import DEFAULT_SIGNATURE, DTYPES, SIGNATURE, VERSION
from modelpress.serving.signature import Tensor

_SPEC, _INPUTS, _FILTER = map(tag, (1, 2, 3))
_SPEC_NAME, _SPEC_VERSION, _SPEC_SIGNATURE, _SPEC_LABEL = map(tag, (1, 2, 3, 4))
_INT64 = tag(1, VARINT)  # the number in an Int64Value
_KEY, _VALUE = map(tag, (1, 2))
_DTYPE, _TENSOR_SHAPE, _CONTENT = tag(1, VARINT), tag(2), tag(4)
_DIM, _UNKNOWN_RANK, _SIZE = tag(2), tag(3, VARINT), tag(1, VARINT)

# The field of TensorProto for each dtype, and the type of its numbers.
_FIELDS = {
    "bool": ("bool_val", "bool"),
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), ("int_val", "int32")),
    "int64": ("int64_val", "int64"),
    "uint32": ("uint32_val", "uint32"),
    "uint64": ("uint64_val", "uint64"),
    "float16": ("half_val", "int32"),  # the bits of each
    "float32": ("float_val", "float32"),
    "float64": ("double_val", "float64"),
}
_NAMES = {
    field.number: field.name for field in pb.TensorProto.DESCRIPTOR.fields if field.name.endswith("_val")
}
_ENUM = pb.TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type
_ENUM_NUMBERS = {dtype: _ENUM.values_by_name[name].number for dtype, name in DTYPES.items()}
_BITS = Tensor("", (), np.dtype("uint16"))  # what a float16 is sent as


@dataclass(slots=True)
class Spec:
    """A ModelSpec, as far as it is read."""

    name: str = ""
    version: int | None = None
    label: str = ""
    signature: str = ""


@dataclass(slots=True)
class _TensorProto:
    """A TensorProto as it came."""

    dtype: int = 0
    shape: list[int] = field(default_factory=list)
    content: memoryview | None = None
    values: dict[str, list[Field]] = field(default_factory=dict)


def check_spec(model: Model, spec: Spec) -> None:
    """Raise BadRequest or NotFound where a request names another model, version or signature."""
    if not spec.name:
        raise BadRequest(f"model_spec.name is missing; this worker serves {model.name!r}")
    if spec.name != model.name:
        raise no_model(spec.name, model.name)
    if spec.label:
        raise NotFound(f"no version labelled {echo(spec.label)}; there are no labels")
    if spec.version not in (None, int(VERSION)):
        raise no_version(str(spec.version), model.name, VERSION)
    if spec.signature not in DEFAULT_SIGNATURE:
        raise BadRequest(f"signature_name is {echo(spec.signature)}; the model has {SIGNATURE!r}")


def spec_of(message: Any) -> Spec:
    """Return what a ModelSpec message says."""
    version = message.version.value if message.HasField("version") else None
    return Spec(message.name, version, message.version_label, message.signature_name)


class PredictGrpc:
    """Decodes and encodes Predict."""

    name = "tfserving-grpc"  # in metrics

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model; tensors that are filled from fewer values than they have may take `max_bytes`."""
        self._model = model
        self._max_bytes = max_bytes
        self._inputs = {tensor.name: index for index, tensor in enumerate(model.signature.inputs)}
        self._outputs = {tensor.name: index for index, tensor in enumerate(model.signature.outputs)}
        self._all = tuple(range(len(self._outputs)))

    def decode(self, body: Body, json_length: int | None = None) -> DecodedRequest:
        """Return the call in a serialized PredictRequest. Raises BadRequest, NotFound or TooLarge."""
        spec, requested = Spec(), []
        entries = []
        for key, value in wire.fields(memoryview(body), "the PredictRequest"):
            if key == _SPEC:
                _read_spec(value, spec)
            elif key == _INPUTS:
                entries.append(value)
            elif key == _FILTER:
                requested.append(text(value, "output_filter"))
        check_spec(self._model, spec)
        tensors = self._model.signature.inputs
        arrays: list[Array | None] = [None] * len(tensors)
        for entry in entries:
            name, value = _entry(entry)
            index = oip.index_of(name, self._inputs, "inputs")
            if arrays[index] is not None:
                raise BadRequest(f"inputs: {name!r} is given twice")
            arrays[index] = self._array(
                _tensor(value, f"inputs {name!r}"), tensors[index], f"inputs {name!r}"
            )
        return DecodedRequest(oip.complete(arrays, tensors, self._inputs), self._requested(requested))

    def encode(self, call: DecodedRequest, outputs: list[Array]) -> Encoded:
        """Return the serialized PredictResponse; `outputs` are in the model's order."""
        response = pb.PredictResponse()
        spec = response.model_spec
        spec.name, spec.signature_name, spec.version.value = self._model.name, SIGNATURE, int(VERSION)
        for index in call.context:
            tensor, array = self._model.signature.outputs[index], outputs[index]
            proto = response.outputs[tensor.name]
            name, kind = _FIELDS[tensor.dtype.name]
            proto.dtype = _ENUM_NUMBERS[tensor.dtype.name]
            for size in array.shape:
                proto.tensor_shape.dim.add(size=size)
            values = np.ascontiguousarray(array).view(_BITS.dtype) if name == "half_val" else array
            numbers.write(proto, name, values.astype(kind, copy=False))
        return Encoded([response.SerializeToString()])

    def _requested(self, names: Sequence[str]) -> tuple[int, ...]:
        if not names:
            return self._all
        indices = tuple(oip.index_of(name, self._outputs, "output_filter") for name in names)
        if len(set(indices)) < len(indices):
            raise BadRequest("output_filter names an output twice")
        return indices

    def _array(self, proto: _TensorProto, tensor: Tensor, where: str) -> Array:
        """Return the array in a TensorProto. Raises BadRequest or TooLarge."""
        name, kind = _FIELDS[tensor.dtype.name]
        if proto.dtype != _ENUM_NUMBERS[tensor.dtype.name]:
            given, dtype = _ENUM.values_by_number.get(proto.dtype), DTYPES[tensor.dtype.name]
            raise BadRequest(f"{where}: dtype must be {dtype}, not {given.name if given else proto.dtype}")
        shape = oip.shape_of(proto.shape, where)
        other = next((other for other in proto.values if other != name), None)
        if other is not None:
            raise BadRequest(f"{where}: the values must be in {name} or tensor_content, not in {other}")
        pieces = proto.values.get(name, [])
        found, needed = numbers.count(pieces, kind, f"{where}: {name}"), prod(shape)
        if proto.content is not None:
            if found:
                raise BadRequest(f"{where}: either {name} or tensor_content, not both")
            return array_of_raw(proto.content, shape, tensor, where)
        if not tensor.accepts(shape) or 0 in shape:
            return fit(np.empty(0, tensor.dtype), shape, tensor, where)  # says what is wrong
        check_sizes(shape, tensor, where)  # before it is filled up
        if not 0 < found <= needed:
            raise BadRequest(f"{where}: {name} has {found} values, shape {shown(shape)} needs {needed}")
        values = numbers.read(pieces, kind, where)
        if name == "half_val":
            array: Array = numbers.fitting(values, _BITS, where).view(np.float16)
        else:
            array = numbers.fitting(values, tensor, where)
        return fit(self._filled(array, needed, where), shape, tensor, where)

    def _filled(self, array: Array, needed: int, where: str) -> Array:
        """Repeat the last value up to `needed` of them, as TensorFlow does."""
        if len(array) == needed:
            return array
        if needed * array.itemsize > self._max_bytes:
            raise TooLarge(
                f"{where}: a tensor of which fewer values come than it has may take {self._max_bytes} bytes"
            )
        return np.concatenate([array, np.full(needed - len(array), array[-1], array.dtype)])


def model_metadata(model: Model) -> Any:
    """Return the answer to GetModelMetadata."""
    response = pb.GetModelMetadataResponse()
    spec = response.model_spec
    spec.name, spec.version.value = model.name, int(VERSION)
    definition = pb.SignatureDef(method_name="tensorflow/serving/predict")
    for described, tensors in (
        (definition.inputs, model.signature.inputs),
        (definition.outputs, model.signature.outputs),
    ):
        for tensor in tensors:
            info = described[tensor.name]
            info.name, info.dtype = tensor.name, _ENUM_NUMBERS[tensor.dtype.name]
            for size in tensor.shape:
                info.tensor_shape.dim.add(size=size)
    signatures = pb.SignatureDefMap()
    signatures.signature_def[SIGNATURE].CopyFrom(definition)
    response.metadata["signature_def"].Pack(signatures)
    return response


def _read_spec(message: memoryview | int, spec: Spec) -> None:
    assert isinstance(message, memoryview)
    for key, value in wire.fields(message, "model_spec"):
        if key == _SPEC_NAME:
            spec.name = text(value, "model_spec.name")
        elif key == _SPEC_VERSION:
            assert isinstance(value, memoryview)
            spec.version, spec.label = _last(value, _INT64, "model_spec.version"), ""
        elif key == _SPEC_LABEL:
            spec.label, spec.version = text(value, "model_spec.version_label"), None
        elif key == _SPEC_SIGNATURE:
            spec.signature = text(value, "model_spec.signature_name")


def _entry(message: memoryview | int) -> tuple[str, memoryview]:
    """Return name and serialized TensorProto of an input."""
    assert isinstance(message, memoryview)
    name, tensors = "", []
    for key, value in wire.fields(message, "inputs: an entry"):
        if key == _KEY:
            name = text(value, "inputs: a name")
        elif key == _VALUE:
            assert isinstance(value, memoryview)
            tensors.append(value)
    if len(tensors) > 1:
        raise BadRequest(f"inputs: {echo(name)} has more than one tensor")
    return name, tensors[0] if tensors else memoryview(b"")


def _tensor(message: memoryview, where: str) -> _TensorProto:
    found = _TensorProto()
    for key, value in wire.fields(message, where):
        name = _NAMES.get(key >> 3)
        if name is not None:
            if isinstance(value, int) or len(value):
                found.values.setdefault(name, []).append((key, value))
        elif key == _DTYPE:
            assert isinstance(value, int)
            found.dtype = value
        elif key == _TENSOR_SHAPE:
            found.shape += _shape(value, f"{where}: tensor_shape")
        elif key == _CONTENT:
            assert isinstance(value, memoryview)
            found.content = value or None
    return found


def _shape(message: memoryview | int, where: str) -> list[int]:
    assert isinstance(message, memoryview)
    sizes = []
    for key, value in wire.fields(message, where):
        if key == _DIM:
            assert isinstance(value, memoryview)
            sizes.append(_last(value, _SIZE, f"{where}: a dim"))
        elif key == _UNKNOWN_RANK and value:
            raise BadRequest(f"{where}: the rank must be known")
    return sizes


def _last(message: memoryview, key: int, where: str) -> int:
    """Return the number in a field of a message, of which the last one counts; 0 where there is none."""
    found = 0
    for other, value in wire.fields(message, where):
        if other == key:
            assert isinstance(value, int)
            found = wire.signed(value)
    return found
