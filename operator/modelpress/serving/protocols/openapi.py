"""The OpenAPI 3.1 document of what a worker serves: paths, names, datatypes and shapes of the loaded model.

Served at /openapi.json. Pure functions. JSON schema cannot say that `data` has as many values as `shape`
multiplies to, or that inputs have equal rows; the descriptions do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from modelpress.serving.protocols import tfserving_rest
from modelpress.serving.protocols.base import Model
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.signature import Tensor

Schema = dict[str, Any]

_JSON = "application/json"
_BINARY = "application/octet-stream"
_ERROR = {"$ref": "#/components/schemas/Error"}
_OF_ERRORS = {
    "400": "The request is wrong.",
    "408": "The body did not arrive in time.",
    "413": "More bytes or rows than are accepted.",
    "415": "The body has an encoding that is not accepted.",
    "429": "The queue is full: try again later.",
    "431": "The head has too much in it.",
    "500": "A fault of the worker.",
    "503": "The worker is not ready.",
    "504": "No answer within requestTimeoutSeconds.",
}
_EXAMPLE_VALUES = 1000  # the most that an example shows: the document has four of them
_STRING: Schema = {"type": "string"}
_PARAMETERS: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}


def document(model: Model) -> Schema:
    """Return the document of a worker that serves `model`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{model.name} on ModelPress",
            "version": model.revision,
            "description": "Open Inference Protocol v2 and TensorFlow Serving's REST API.",
        },
        "paths": _pages(model) | _calls(model),
        "components": {"schemas": {"Error": _object({"error": _STRING})}},
    }


def _pages(model: Model) -> Schema:
    ready = _object({"ready": {"type": "boolean"}})
    described = {
        "type": "array",
        "items": _object({"name": _STRING, "datatype": _STRING, "shape": _integers()}),
    }
    metadata = _object(
        {
            "name": {"const": model.name},
            "versions": {"type": "array", "items": _STRING},
            "platform": _STRING,
            "inputs": described,
            "outputs": described,
            "revision": _STRING,
            "digest": _STRING,
        }
    )
    pages = {
        "/v2": (
            "Server metadata",
            _object({"name": _STRING, "version": _STRING, "extensions": _strings()}),
        ),
        "/v2/health/live": ("Whether the server answers", _object({"live": {"type": "boolean"}})),
        "/v2/health/ready": ("Whether requests should be sent here", ready),
        "/openapi.json": ("This document", {"type": "object"}),
    }
    for base in oip_paths(model):
        pages[base] = ("Model metadata", metadata)
        pages[f"{base}/ready"] = (
            "Whether the model is ready",
            _object({"name": _STRING, **ready["properties"]}),
        )
    for base in tfserving_paths(model):
        pages[base] = (
            "TensorFlow Serving: model status",
            _object({"model_version_status": {"type": "array", "items": {"type": "object"}}}),
        )
        pages[f"{base}/metadata"] = (
            "TensorFlow Serving: model metadata",
            _object({"model_spec": {"type": "object"}, "metadata": {"type": "object"}}),
        )
    paths = {path: {"get": _page(summary, schema)} for path, (summary, schema) in pages.items()}
    paths["/metrics"] = {"get": {**_page("Prometheus metrics", _STRING)}}
    paths["/metrics"]["get"]["responses"]["200"]["content"] = {
        "text/plain": {"schema": _STRING},
        "application/openmetrics-text": {"schema": _STRING},
    }
    return paths


def _page(summary: str, schema: Schema) -> Schema:
    return {
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {_JSON: {"schema": schema}}},
            **_failures({"503"}, schema),
        },
    }


def _calls(model: Model) -> Schema:
    infer = {
        "summary": "Inference (Open Inference Protocol v2)",
        "description": "Inputs have equal numbers of rows, and data as many values as shape multiplies to."
        " With the binary tensor extension raw little-endian tensors follow the JSON.",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "required": False,
                "schema": {"type": "integer", "minimum": 0},
                "description": "Where the JSON ends and raw tensors begin; not sent where all is JSON.",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": infer_request(model), **_example(model, infer_example)}},
        },
        "responses": {
            "200": {
                "description": "The outputs",
                "content": {_JSON: {"schema": _infer_answer(model)}, _BINARY: {}},
            },
            **_failures(set(_OF_ERRORS)),
        },
    }
    predict = {
        "summary": "Inference (TensorFlow Serving)",
        "requestBody": {
            "required": True,
            "content": {_JSON: {"schema": _predict_request(model), **_example(model, predict_example)}},
        },
        "responses": {
            "200": {
                "description": "The outputs, by row or by column as the inputs were",
                "content": {_JSON: {"schema": {"anyOf": [_required("predictions"), _required("outputs")]}}},
            },
            **_failures(set(_OF_ERRORS)),
        },
    }
    paths: Schema = {f"{base}/infer": {"post": infer} for base in oip_paths(model)}
    return paths | {f"{base}:predict": {"post": predict} for base in tfserving_paths(model)}


def oip_paths(model: Model) -> tuple[str, str]:
    """Return the paths of the model in the Open Inference Protocol, without and with its version."""
    path = f"/v2/models/{model.name}"
    return path, f"{path}/versions/{model.revision}"


def tfserving_paths(model: Model) -> tuple[str, str]:
    """Return the paths of the model in TensorFlow Serving's API, without and with its version."""
    path = f"/v1/models/{model.name}"
    return path, f"{path}/versions/{tfserving_rest.VERSION}"


def infer_request(model: Model) -> Schema:
    """Return the schema of a JSON inference request."""
    names = [tensor.name for tensor in model.signature.outputs]
    inputs = [_input(tensor) for tensor in model.signature.inputs]
    output = _object({"name": {"enum": names}}) | {"additionalProperties": True}
    output["properties"]["parameters"] = _PARAMETERS
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": _STRING,
            "parameters": _PARAMETERS,
            "inputs": {
                "type": "array",
                "minItems": len(inputs),
                "maxItems": len(inputs),
                "items": {"anyOf": inputs},
            },
            "outputs": {
                "type": ["array", "null"],
                "items": output,
                "maxItems": len(names),
                "description": "The requested outputs; all where it is absent, null or empty.",
            },
        },
    }


def _example(model: Model, example: Callable[[Model], Schema]) -> Schema:
    """Return a request as an example of the document, or nothing where it would be long."""
    values = sum(array.size for array in model.signature.example(1))
    return {"example": example(model)} if values <= _EXAMPLE_VALUES else {}


def infer_example(model: Model) -> Schema:
    """Return a request of one row of zeros that is accepted."""
    arrays = model.signature.example(1)
    return {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": DATATYPES[tensor.dtype.name],
                "shape": list(array.shape),
                "data": array.ravel().tolist(),
            }
            for tensor, array in zip(model.signature.inputs, arrays, strict=True)
        ]
    }


def predict_example(model: Model) -> Schema:
    """Return a request of one row of zeros that is accepted."""
    arrays = model.signature.example(1)
    columns = {
        tensor.name: array.tolist() for tensor, array in zip(model.signature.inputs, arrays, strict=True)
    }
    return {"inputs": columns}


def _input(tensor: Tensor) -> Schema:
    sizes = [
        {"const": size} if size >= 0 else {"type": "integer", "minimum": 1} | _at_most("maximum", most)
        for size, most in zip(tensor.shape, tensor.largest, strict=True)
    ]
    return _object(
        {
            "name": {"const": tensor.name},
            "datatype": {"const": DATATYPES[tensor.dtype.name]},
            "shape": {
                "type": "array",
                "prefixItems": sizes,
                "minItems": len(sizes),
                "maxItems": len(sizes),
            },
            "data": {"type": "array", "description": "The values, row-major; nested as shape, or flat."},
        }
    )


def _infer_answer(model: Model) -> Schema:
    output = _object({"name": _STRING, "datatype": _STRING, "shape": _integers()})
    return _object(
        {
            "model_name": {"const": model.name},
            "model_version": {"const": model.revision},
            "outputs": {"type": "array", "items": output},
        }
    )


def _predict_request(model: Model) -> Schema:
    tensors = model.signature.inputs
    rows = {tensor.name: _nested(tensor, 1) for tensor in tensors}
    columns = {tensor.name: _nested(tensor, 0) for tensor in tensors}
    row, column = [_object(rows)], [_object(columns)]
    if len(tensors) == 1:  # which needs no name
        row.append(rows[tensors[0].name])
        column.append(columns[tensors[0].name])
    signature = {"signature_name": {"enum": list(tfserving_rest.DEFAULT_SIGNATURE)}}
    instances = {"type": "array", "minItems": 1, "items": {"anyOf": row}}
    return {
        "anyOf": [
            _object({"instances": instances}) | {"properties": {"instances": instances, **signature}},
            _object({"inputs": {"anyOf": column}})
            | {"properties": {"inputs": {"anyOf": column}, **signature}},
        ]
    }


def _nested(tensor: Tensor, first: int) -> Schema:
    """Return the schema of nested lists of the tensor's values, from axis `first` on."""
    schema = _value(tensor)
    axes = list(zip(tensor.shape, tensor.largest, strict=True))
    for size, most in reversed(axes[first:]):
        bounds = {"minItems": max(size, 1)} | _at_most("maxItems", most)
        schema = {"type": "array", "items": schema, **bounds}
    return schema


def _at_most(keyword: str, most: int) -> Schema:
    """Return a bound of a schema, nothing where there is none."""
    return {} if most < 0 else {keyword: most}


def _value(tensor: Tensor) -> Schema:
    kind = tensor.dtype.kind
    if kind == "b":
        return {"type": "boolean"}
    if kind in "iu":
        limits = np.iinfo(tensor.dtype)  # type: ignore[type-var]  # the dtype is one of integers
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    most = float(np.finfo(tensor.dtype).max)  # type: ignore[type-var]  # the dtype is a floating one
    return {"type": "number", "minimum": -most, "maximum": most}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _required(name: str) -> Schema:
    return {"type": "object", "required": [name]}


def _integers() -> Schema:
    return {"type": "array", "items": {"type": "integer"}}


def _strings() -> Schema:
    return {"type": "array", "items": _STRING}


def _failures(codes: set[str], schema: Schema | None = None) -> Schema:
    """Return the answers to requests that are refused; a page that is not ready has its own form."""
    return {
        code: {
            "description": _OF_ERRORS[code],
            "content": {_JSON: {"schema": _ERROR if schema is None else {"anyOf": [schema, _ERROR]}}},
        }
        for code in sorted(codes)
    }
