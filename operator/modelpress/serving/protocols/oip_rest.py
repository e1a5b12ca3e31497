"""Open Inference Protocol v2 over REST: tensors as JSON, or raw after it (the binary tensor extension).

Pure functions from and to bytes. The extension is NVIDIA Triton's (extension_binary_data in its protocol
documents): the header Inference-Header-Content-Length says where the JSON ends; the raw data of those inputs
that have the parameter binary_data_size follows in their order. Unknown parameters are ignored, as the
protocol says.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.base import Body, DecodedRequest, Encoded, Model
from modelpress.serving.protocols.json_bounds import SHORT, JsonBounds
from modelpress.serving.protocols.json_tensors import (
    array_of,
    check_text,
    decode_object,
    dump,
    empty_or_kind,
    fit,
    flatten,
    floats_only,
    is_list,
    kind,
    number_or_kind,
    parse_object,
    shown,
)
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.protocols.raw_tensors import RawTail, array_of_raw, raw_of, split
from modelpress.serving.signature import Tensor


def server_metadata() -> dict[str, Any]:
    """Return the answer to GET /v2."""
    return {"name": oip.SERVER, "version": oip.server_version(), "extensions": list(oip.EXTENSIONS)}


def model_metadata(model: Model) -> dict[str, Any]:
    """Return the answer to GET /v2/models/NAME; `digest`, `revision` and `max_shape` are ours."""
    return {
        "name": model.name,
        "versions": [model.revision],
        "platform": model.platform,
        "inputs": [_describe(tensor) for tensor in model.signature.inputs],
        "outputs": [_describe(tensor) for tensor in model.signature.outputs],
        "revision": model.revision,
        "digest": model.digest,
    }


@dataclass(slots=True)
class _Context:
    outputs: tuple[int, ...]  # indices of the requested outputs, in the order asked for
    raw: frozenset[int] = frozenset()  # those requested as raw data


class OipRest:
    """Decodes and encodes POST /v2/models/NAME/infer."""

    name = "oip-rest"

    def __init__(self, model: Model) -> None:
        self._model = model
        self._inputs = {tensor.name: index for index, tensor in enumerate(model.signature.inputs)}
        self._outputs = {tensor.name: index for index, tensor in enumerate(model.signature.outputs)}
        self._all = tuple(range(len(self._outputs)))
        self._floats = floats_only(model.signature.inputs)
        self._bounds = JsonBounds(model)
        self._usual = _Context(self._all)  # for a request that chooses no outputs

    def decode(self, body: Body, json_length: int | None = None) -> DecodedRequest:
        """Return the call in a body. Raises BadRequest."""
        if json_length is None:
            if len(body) > SHORT:
                self._bounds.check(body)
            return decode_object(body, self._decode, self._floats)
        json, tail = split(body, json_length)
        if json_length > SHORT:
            self._bounds.check(json)
        return self._decode(parse_object(json), tail)

    def _decode(self, request: dict[str, Any], tail: RawTail | None = None) -> DecodedRequest:
        call_id = request.get("id")
        if call_id is not None:
            if type(call_id) is not str:
                raise BadRequest(f"id must be a string, not {kind(call_id)}")
            if not call_id.isascii():
                check_text(call_id, "id")
        parameters = _parameters(request, "the request")
        arrays: list[Array | None] = [None] * len(self._inputs)
        tensors = self._model.signature.inputs
        for number, entry in enumerate(_objects(request.get("inputs"), "inputs")):
            where = f"inputs[{number}]"
            index = oip.index_of(entry.get("name"), self._inputs, where)
            if arrays[index] is not None:
                raise BadRequest(f"{where}: {entry['name']!r} is given twice")
            arrays[index] = _array(entry, tensors[index], where, tail)
        if tail is not None:
            tail.end()
        given = oip.complete(arrays, tensors, self._inputs)
        usual = not parameters and "outputs" not in request
        return DecodedRequest(given, self._usual if usual else self._context(request, parameters), call_id)

    def encode(self, call: DecodedRequest, outputs: list[Array]) -> Encoded:
        """Return the body of the answer."""
        context: _Context = call.context
        if not context.raw:
            return Encoded([self._answer(call, outputs)])
        json = self._answer(call, outputs)
        tail = [raw_of(outputs[index]) for index in context.outputs if index in context.raw]
        return Encoded([json, *tail], len(json))

    def _answer(self, call: DecodedRequest, outputs: list[Array]) -> bytes:
        context: _Context = call.context
        answer: dict[str, Any] = {"model_name": self._model.name, "model_version": self._model.revision}
        if call.id is not None:
            answer["id"] = call.id
        answer["outputs"] = [
            self._output(index, outputs[index], index in context.raw) for index in context.outputs
        ]
        return dump(answer)

    def _output(self, index: int, array: Array, raw: bool) -> dict[str, Any]:
        tensor = self._model.signature.outputs[index]
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": oip.datatype_of(tensor.dtype),
            "shape": array.shape,
        }
        if raw:
            output["parameters"] = {"binary_data_size": array.nbytes}
        else:
            output["data"] = array.ravel()
        return output

    def _context(self, request: dict[str, Any], parameters: dict[str, Any]) -> _Context:
        """Return which outputs are requested, and in which form."""
        raw_by_default = _flag(parameters, "binary_data_output", False, "the request")
        requested = request.get("outputs")
        if requested is None or requested == []:  # nothing else that is false means all
            return _Context(self._all, frozenset(self._all if raw_by_default else ()))
        indices: list[int] = []
        raw = set()
        for number, entry in enumerate(_objects(requested, "outputs")):
            where = f"outputs[{number}]"
            index = oip.index_of(entry.get("name"), self._outputs, where)
            if index in indices:
                raise BadRequest(f"{where}: {entry['name']!r} is asked for twice")
            chosen = _parameters(entry, where)
            oip.check_parameters(chosen, where)
            if _flag(chosen, "binary_data", raw_by_default, where):
                raw.add(index)
            indices.append(index)
        return _Context(tuple(indices), frozenset(raw))


def _array(entry: dict[str, Any], tensor: Tensor, where: str, tail: RawTail | None) -> Array:
    where = f"{where} {tensor.name!r}"
    oip.check_datatype(entry.get("datatype"), tensor, where)
    parameters = _parameters(entry, where)
    if parameters:
        oip.check_parameters(parameters, where)
    shape = oip.shape_of(entry.get("shape"), where)
    if "binary_data_size" in parameters:
        return array_of_raw(_raw(entry, parameters["binary_data_size"], where, tail), shape, tensor, where)
    data = entry.get("data")
    if not is_list(data):
        raise BadRequest(f"{where}: data must be a list, not {kind(data)}")
    leaves = flatten(data, where)
    if len(leaves.shape) > 1 and list(leaves.shape) != shape:
        raise BadRequest(f"{where}: data is nested as {shown(leaves.shape)}, shape says {shown(shape)}")
    count = len(leaves.values)
    if prod(shape) != count:
        raise BadRequest(f"{where}: data has {count} values, shape {shown(shape)} needs {prod(shape)}")
    return fit(array_of(leaves, tensor, where), shape, tensor, where)


def _raw(entry: dict[str, Any], size: Any, where: str, tail: RawTail | None) -> memoryview:
    """Return the raw data of an input. Raises BadRequest."""
    if type(size) is not int or size < 0:
        raise BadRequest(
            f"{where}: binary_data_size must be an integer of 0 or more, not {number_or_kind(size)}"
        )
    if "data" in entry:
        raise BadRequest(f"{where}: either data or binary_data_size, not both")
    if tail is None:
        raise BadRequest(f"{where}: binary_data_size needs the header Inference-Header-Content-Length")
    return tail.take(size, where)


def _flag(parameters: dict[str, Any], name: str, default: bool, where: str) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise BadRequest(f"{where}: {name} must be a boolean, not {kind(value)}")
    return value


def _objects(value: Any, where: str) -> list[dict[str, Any]]:
    if type(value) is not list or not value:
        raise BadRequest(f"{where} must be a list of objects{empty_or_kind(value)}")
    for number, entry in enumerate(value):
        if type(entry) is not dict:
            raise BadRequest(f"{where}[{number}] must be an object, not {kind(entry)}")
    return value


def _parameters(entry: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise BadRequest(f"{where}: parameters must be an object, not {kind(parameters)}")
    return parameters


def _describe(tensor: Tensor) -> dict[str, Any]:
    described = {"name": tensor.name, "datatype": DATATYPES[tensor.dtype.name], "shape": tensor.shape}
    return described if tensor.most is None else described | {"max_shape": tensor.most}
