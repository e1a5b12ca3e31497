"""Open Inference Protocol v2, REST with JSON tensors (github.com/kserve/open-inference-protocol).

Pure functions from and to JSON. Unknown parameters are ignored, as the protocol says; the binary tensor
extension is refused.
"""

from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from typing import Any

import numpy as np

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.protocols.base import Call, Encoded, Model
from modelpress.serving.protocols.json_tensors import (
    array_of,
    dump,
    echo,
    fit,
    flatten,
    kind,
    parse_object,
    same_rows,
    shown,
)
from modelpress.serving.signature import Tensor

# names of the protocol's datatypes by numpy's; BYTES and BF16 have no fixed-size numpy equivalent
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
_MAX_RANK = 32


def server_metadata() -> dict[str, Any]:
    """Return the answer to GET /v2."""
    return {"name": "modelpress", "version": version("modelpress"), "extensions": []}


def model_metadata(model: Model) -> dict[str, Any]:
    """Return the answer to GET /v2/models/NAME; `digest` and `revision` are ours."""
    return {
        "name": model.name,
        "versions": [model.revision],
        "platform": "litert",
        "inputs": [_describe(tensor) for tensor in model.signature.inputs],
        "outputs": [_describe(tensor) for tensor in model.signature.outputs],
        "revision": model.revision,
        "digest": model.digest,
    }


@dataclass(frozen=True, slots=True)
class _Context:
    id: str | None
    outputs: tuple[int, ...]  # places of the wanted outputs, in the order asked for


class OipRest:
    """Decodes and encodes POST /v2/models/NAME/infer."""

    name = "oip-rest"

    def __init__(self, model: Model) -> None:
        self._model = model
        self._inputs = {tensor.name: place for place, tensor in enumerate(model.signature.inputs)}
        self._outputs = {tensor.name: place for place, tensor in enumerate(model.signature.outputs)}
        self._all = tuple(range(len(self._outputs)))

    def decode(self, body: bytes | bytearray, json_length: int | None = None) -> Call:
        """Return the call in a body. Raises BadRequest."""
        if json_length is not None:
            raise BadRequest("the binary tensor extension is not supported; send JSON tensors")
        request = parse_object(body)
        call_id = request.get("id")
        if call_id is not None and type(call_id) is not str:
            raise BadRequest(f"id must be a string, not {kind(call_id)}")
        _parameters(request, "the request")
        arrays: list[Array | None] = [None] * len(self._inputs)
        for number, entry in enumerate(_objects(request.get("inputs"), "inputs")):
            where = f"inputs[{number}]"
            place = _known(entry, self._inputs, where)
            if arrays[place] is not None:
                raise BadRequest(f"{where}: {entry['name']!r} is given twice")
            arrays[place] = _array(entry, self._model.signature.inputs[place], where)
        given = [array for array in arrays if array is not None]
        if len(given) < len(arrays):
            missing = [name for name, place in self._inputs.items() if arrays[place] is None]
            raise BadRequest(f"inputs: {missing[0]!r} is missing")
        same_rows(given, self._model.signature.inputs)
        return Call(given, _Context(call_id, self._wanted(request)))

    def encode(self, call: Call, outputs: list[Array]) -> Encoded:
        """Return the body of the answer."""
        context: _Context = call.context
        answer: dict[str, Any] = {"model_name": self._model.name, "model_version": self._model.revision}
        if context.id is not None:
            answer["id"] = context.id
        answer["outputs"] = [self._output(place, outputs[place]) for place in context.outputs]
        return Encoded([dump(answer)])

    def _output(self, place: int, array: Array) -> dict[str, Any]:
        tensor = self._model.signature.outputs[place]
        return {
            "name": tensor.name,
            "datatype": DATATYPES[tensor.dtype.name],
            "shape": array.shape,
            "data": np.ascontiguousarray(array).ravel(),
        }

    def _wanted(self, request: dict[str, Any]) -> tuple[int, ...]:
        if not request.get("outputs"):
            return self._all
        places: list[int] = []
        for number, entry in enumerate(_objects(request["outputs"], "outputs")):
            where = f"outputs[{number}]"
            place = _known(entry, self._outputs, where)
            if place in places:
                raise BadRequest(f"{where}: {entry['name']!r} is asked for twice")
            if _parameters(entry, where).get("binary_data"):
                raise BadRequest(f"{where}: binary_data is not supported; ask for JSON")
            places.append(place)
        return tuple(places)


def _array(entry: dict[str, Any], tensor: Tensor, where: str) -> Array:
    where = f"{where} {tensor.name!r}"
    datatype = DATATYPES[tensor.dtype.name]
    if entry.get("datatype") != datatype:
        raise BadRequest(f"{where}: datatype must be {datatype}, not {echo(entry.get('datatype'))}")
    if "binary_data_size" in _parameters(entry, where):
        raise BadRequest(f"{where}: binary_data_size is not supported; send JSON data")
    shape = entry.get("shape")
    if type(shape) is not list or len(shape) > _MAX_RANK:
        raise BadRequest(f"{where}: shape must be a list of at most {_MAX_RANK} sizes")
    if any(type(size) is not int or size < 0 for size in shape):
        raise BadRequest(f"{where}: shape must hold integers of 0 or more")
    data = entry.get("data")
    if type(data) is not list:
        raise BadRequest(f"{where}: data must be a list, not {kind(data)}")
    leaves, nesting = flatten(data, where)
    if len(nesting) > 1 and list(nesting) != shape:
        raise BadRequest(f"{where}: data is nested as {shown(nesting)}, shape says {shown(shape)}")
    if prod(shape) != len(leaves):
        raise BadRequest(f"{where}: data has {len(leaves)} values, shape {shown(shape)} needs {prod(shape)}")
    return fit(array_of(leaves, tensor, where), shape, tensor, where)


def _objects(value: Any, where: str) -> list[dict[str, Any]]:
    if type(value) is not list or not value:
        raise BadRequest(f"{where} must be a list of objects")
    for number, entry in enumerate(value):
        if type(entry) is not dict:
            raise BadRequest(f"{where}[{number}] must be an object, not {kind(entry)}")
    return value


def _known(entry: dict[str, Any], places: dict[str, int], where: str) -> int:
    name = entry.get("name")
    if type(name) is not str or name not in places:
        raise BadRequest(f"{where}: name is {echo(name)}; the model has {', '.join(map(repr, places))}")
    return places[name]


def _parameters(entry: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise BadRequest(f"{where}: parameters must be an object, not {kind(parameters)}")
    return parameters


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype.name], "shape": tensor.shape}
