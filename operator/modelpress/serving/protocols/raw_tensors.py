"""Tensors as bytes: little-endian, row-major, without padding; for the binary extension and for gRPC.

Arrays are views of the body that they came in: nothing is copied. Pure functions.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.protocols.base import Body
from modelpress.serving.protocols.json_tensors import fit, shown
from modelpress.serving.signature import Tensor


def array_of_raw(data: Body, shape: Sequence[int], tensor: Tensor, where: str) -> Array:
    """Return a view of `data` in `shape`. Raises BadRequest where sizes or booleans are wrong."""
    dtype = tensor.dtype
    needed = prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise BadRequest(
            f"{where}: the raw data has {len(data)} bytes, shape {shown(shape)} of {dtype} needs {needed}"
        )
    if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise BadRequest(f"{where}: a raw boolean is a byte of 0 or 1")
    return fit(np.frombuffer(data, dtype.newbyteorder("<")), shape, tensor, where)


def raw_of(array: Array) -> memoryview:
    """Return the bytes of an array, without a copy where it is contiguous."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


class RawTail:
    """The raw tensors that follow the JSON of a body, taken in the order of its inputs."""

    def __init__(self, tail: memoryview) -> None:
        self._tail = tail
        self._taken = 0

    def take(self, size: int, where: str) -> memoryview:
        """Return the next `size` bytes. Raises BadRequest where fewer are left."""
        left = len(self._tail) - self._taken
        if size > left:
            raise BadRequest(f"{where}: binary_data_size is {size}, but {left} bytes are left in the body")
        start, self._taken = self._taken, self._taken + size
        return self._tail[start : self._taken]

    def end(self) -> None:
        """Raise BadRequest where bytes are left that no input takes."""
        left = len(self._tail) - self._taken
        if left:
            raise BadRequest(f"{left} bytes follow the raw data of the last input")


def split(body: Body, json_length: int) -> tuple[memoryview, RawTail]:
    """Return the JSON and the raw tensors of a body. Raises BadRequest where the JSON would be longer."""
    if json_length > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes"
        )
    view = memoryview(body)
    return view[:json_length], RawTail(view[json_length:])
