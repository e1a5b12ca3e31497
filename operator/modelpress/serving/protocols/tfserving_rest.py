"""TensorFlow Serving's REST API: predict in row and columnar form, status and metadata.

Pure functions from and to JSON (www.tensorflow.org/tfx/serving/api_rest). The only signature is
serving_default and the only version is 1: a worker serves one revision.
"""

from dataclasses import dataclass
from typing import Any

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.protocols.base import Body, DecodedRequest, Encoded, Model
from modelpress.serving.protocols.json_bounds import SHORT, JsonBounds
from modelpress.serving.protocols.json_numbers import Numbers
from modelpress.serving.protocols.json_tensors import (
    array_of,
    decode_object,
    dump,
    echo,
    empty_or_kind,
    fit,
    flatten,
    floats_only,
    is_list,
    kind,
    same_rows,
)
from modelpress.serving.signature import Tensor

VERSION = "1"
SIGNATURE = "serving_default"
DEFAULT_SIGNATURE = (None, "", SIGNATURE)  # what a request may call it
DTYPES = {  # TensorFlow's names
    "bool": "DT_BOOL",
    "uint8": "DT_UINT8",
    "uint16": "DT_UINT16",
    "uint32": "DT_UINT32",
    "uint64": "DT_UINT64",
    "int8": "DT_INT8",
    "int16": "DT_INT16",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "float16": "DT_HALF",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
}


def status(ready: bool) -> dict[str, Any]:
    """Return the answer to GET /v1/models/NAME."""
    state = "AVAILABLE" if ready else "UNLOADING"
    return {
        "model_version_status": [
            {"version": VERSION, "state": state, "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


def metadata(model: Model) -> dict[str, Any]:
    """Return the answer to GET /v1/models/NAME/metadata."""
    definition = {
        "inputs": {tensor.name: _describe(tensor) for tensor in model.signature.inputs},
        "outputs": {tensor.name: _describe(tensor) for tensor in model.signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": VERSION},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: definition}}},
    }


@dataclass(slots=True)
class _Context:
    columnar: bool


class TfServingRest:
    """Decodes and encodes POST /v1/models/NAME:predict."""

    name = "tfserving-rest"

    def __init__(self, model: Model) -> None:
        self._inputs = model.signature.inputs
        self._outputs = model.signature.outputs
        self._floats = floats_only(model.signature.inputs)
        self._bounds = JsonBounds(model)

    def decode(self, body: Body, json_length: int | None = None) -> DecodedRequest:
        """Return the call in a body. Raises BadRequest."""
        if json_length is not None:
            raise BadRequest("the binary tensor extension is not supported; send JSON tensors")
        if len(body) > SHORT:
            self._bounds.check(body)
        return decode_object(body, self._decode, self._floats)

    def _decode(self, request: dict[str, Any]) -> DecodedRequest:
        signature = request.get("signature_name")
        if signature not in DEFAULT_SIGNATURE:
            raise BadRequest(f"signature_name is {echo(signature)}; the model has {SIGNATURE!r}")
        columnar = "inputs" in request
        if columnar == ("instances" in request):
            raise BadRequest('the body needs either "instances" (rows) or "inputs" (columns)')
        columns = self._columns(request["inputs"]) if columnar else self._rows(request["instances"])
        arrays = [
            _array(columns[tensor.name], tensor, f"{'inputs' if columnar else 'instances'} {tensor.name!r}")
            for tensor in self._inputs
        ]
        same_rows(arrays, self._inputs)
        return DecodedRequest(arrays, _Context(columnar))

    def encode(self, call: DecodedRequest, outputs: list[Array]) -> Encoded:
        """Return the body of the answer, in the form of the request."""
        return Encoded([dump(self._answer(call.context, outputs))])

    def _answer(self, context: _Context, outputs: list[Array]) -> dict[str, Any]:
        if len(outputs) == 1:
            return {"outputs" if context.columnar else "predictions": outputs[0]}
        if context.columnar:
            return {"outputs": {t.name: array for t, array in zip(self._outputs, outputs, strict=True)}}
        names = [tensor.name for tensor in self._outputs]
        return {"predictions": [dict(zip(names, row, strict=True)) for row in zip(*outputs, strict=True)]}

    def _columns(self, value: Any) -> dict[str, Any]:
        """Return the value of each input from columnar form; a lone input needs no name."""
        if type(value) is dict:
            self._check_names(value, "inputs")
            return value
        if len(self._inputs) > 1:
            raise BadRequest(f"inputs must have the keys {self._names()}; it is {kind(value)}")
        return {self._inputs[0].name: value}

    def _rows(self, value: Any) -> dict[str, Any]:
        """Return the value of each input from row form: one entry of the list for each row."""
        if type(value) is Numbers and len(self._inputs) == 1:
            return {self._inputs[0].name: value}
        if type(value) is not list or not value:
            raise BadRequest(f"instances must be a list with at least one row{empty_or_kind(value)}")
        kinds = set(map(type, value))
        if dict not in kinds and len(self._inputs) == 1:
            return {self._inputs[0].name: value}
        for number, row in enumerate(value):
            if type(row) is not dict:
                raise BadRequest(f"instances[{number}] must have the keys {self._names()}; it is {kind(row)}")
            self._check_names(row, f"instances[{number}]")
        return {tensor.name: [row[tensor.name] for row in value] for tensor in self._inputs}

    def _check_names(self, value: dict[str, Any], where: str) -> None:
        known = {tensor.name for tensor in self._inputs}
        for name in value:
            if name not in known:
                raise BadRequest(f"{where} has {echo(name)}; the model takes {self._names()}")
        for tensor in self._inputs:
            if tensor.name not in value:
                raise BadRequest(f"{where}: {tensor.name!r} is missing")

    def _names(self) -> str:
        return ", ".join(repr(tensor.name) for tensor in self._inputs)


def _array(value: Any, tensor: Tensor, where: str) -> Array:
    if not is_list(value):
        raise BadRequest(f"{where} must be a list, not {kind(value)}")
    leaves = flatten(value, where)
    return fit(array_of(leaves, tensor, where), leaves.shape, tensor, where)


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {
        "dtype": DTYPES[tensor.dtype.name],
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in tensor.shape],
            "unknown_rank": False,
        },
        "name": tensor.name,
    }
