"""Requests and answers of the Open Inference Protocol in JSON, as arrays."""

from typing import Any

import httpx
import numpy as np


def tensor(name: str, array: Any) -> dict[str, Any]:
    """Return an input of the Open Inference Protocol in JSON."""
    datatype = {"float32": "FP32", "int32": "INT32", "uint8": "UINT8"}[array.dtype.name]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}


def images(rows: int, seed: int = 0) -> Any:
    """Return rows of the seed model's input."""
    return np.random.default_rng(seed).random((rows, 64), dtype="float32")


def request(array: Any, **more: Any) -> dict[str, Any]:
    """Return a request to the seed model."""
    return {"inputs": [tensor("images", array)], **more}


def output(response: httpx.Response, place: int = 0) -> Any:
    """Return an output of an answer, as an array."""
    assert response.status_code == 200, response.text
    entry = response.json()["outputs"][place]
    dtype = {"FP32": "float32", "INT32": "int32"}[entry["datatype"]]
    return np.array(entry["data"], dtype).reshape(entry["shape"])
