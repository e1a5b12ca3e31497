"""Repeated numbers of messages to arrays and back. Pure functions.

A packed field of floats or booleans is an array's bytes; one of integers holds a varint for each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.grpc import wire
from modelpress.serving.grpc.wire import Field
from modelpress.serving.protocols.json_tensors import out_of_range
from modelpress.serving.protocols.raw_tensors import raw_of
from modelpress.serving.signature import Tensor

_FIXED = {"float32": wire.FIXED32, "float64": wire.FIXED64}  # types of fixed size, and how one comes alone
_LITTLE = {name: np.dtype(name).newbyteorder("<") for name in _FIXED}


def count(pieces: Sequence[Field], kind: str, where: str) -> int:
    """Return how many numbers of a type the pieces of a field hold. Raises BadRequest for others."""
    found = 0
    alone = _FIXED.get(kind, wire.VARINT)
    for key, value in pieces:
        if key & 7 not in (wire.LENGTH_DELIMITED, alone):
            raise BadRequest(f"{where} does not hold numbers of its type")
        if isinstance(value, int):
            found += 1
        elif kind in _FIXED:
            if len(value) % _LITTLE[kind].itemsize:
                raise BadRequest(f"{where}: the numbers end inside one")
            found += len(value) // _LITTLE[kind].itemsize
        else:
            found += wire.count(value)
    return found


def read(pieces: Sequence[Field], kind: str, where: str) -> Array:
    """Return the numbers of a type in the pieces of a field, which `count` has checked. Raises BadRequest."""
    if kind in _FIXED:
        views = [value for _, value in pieces if isinstance(value, memoryview)]
        return np.frombuffer(views[0] if len(views) == 1 else b"".join(views), _LITTLE[kind])
    arrays = [
        np.array([value], np.uint64) if isinstance(value, int) else wire.varints(value, where)
        for _, value in pieces
    ]
    bits = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, np.uint64), *arrays])
    if kind == "bool":
        return np.asarray(bits != 0)
    width = np.dtype(kind).itemsize  # the bits above it are those of the sign
    array: Array = bits.astype(f"uint{8 * width}", copy=False).view(kind)
    return array


def fitting(values: Array, tensor: Tensor, where: str) -> Array:
    """Return integers in the tensor's dtype, others as they are. Raises BadRequest for what does not fit."""
    dtype = tensor.dtype
    if dtype.kind not in "iu" or values.dtype == dtype:
        return values
    limits = np.iinfo(dtype)  # type: ignore[type-var]  # numpy wants an integer dtype here
    wide: Any = values
    if len(wide) and (wide.min() < limits.min or wide.max() > limits.max):
        index = int(((wide < limits.min) | (wide > limits.max)).argmax())
        raise out_of_range(index, int(wide[index]), tensor, where)
    return values.astype(dtype)


def write(message: Any, field: str, values: Array) -> None:
    """Put numbers of the field's type into a message."""
    if values.dtype.name in _FIXED or values.dtype.kind == "b":
        number = message.DESCRIPTOR.fields_by_name[field].number
        message.MergeFromString(wire.packed(number, raw_of(values)))
    else:
        getattr(message, field).extend(values.ravel().tolist())
