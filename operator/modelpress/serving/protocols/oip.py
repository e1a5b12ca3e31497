"""What the REST and the gRPC form of the Open Inference Protocol v2 share: names, metadata and checks.

The protocol is at github.com/kserve/open-inference-protocol. Pure functions.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

import numpy as np

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.protocols.json_tensors import echo, kind, number_or_kind, same_rows
from modelpress.serving.signature import Tensor

# The protocol's names of datatypes by numpy's. BYTES and BF16 have no numpy equivalent of fixed size: a model
# with such an input or output is refused when it is loaded, so that no request can carry them.
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
SERVER = "modelpress"
EXTENSIONS = ("binary_tensor_data",)  # REST only: gRPC has raw contents of its own
MAX_RANK = 32
# Extensions of other servers that change a tensor: ignored, the answer would not be what was asked for.
_FOREIGN = ("classification", "shared_memory_region")


def server_version() -> str:
    """Return the version of this package."""
    return version("modelpress")


@cache
def datatype_of(dtype: np.dtype[np.generic]) -> str:
    """Return the protocol's name of a dtype; numpy takes microseconds to say its own."""
    return DATATYPES[dtype.name]


def index_of(name: object, indices: Mapping[str, int], where: str) -> int:
    """Return the index of the tensor called `name`. Raises BadRequest."""
    if type(name) is not str or name not in indices:
        raise BadRequest(f"{where}: name is {echo(name)}; the model has {', '.join(map(repr, indices))}")
    return indices[name]


def check_datatype(datatype: object, tensor: Tensor, where: str) -> None:
    """Raise BadRequest where `datatype` is not that of the model's tensor."""
    expected = datatype_of(tensor.dtype)
    if datatype != expected:
        raise BadRequest(f"{where}: datatype must be {expected}, not {echo(datatype)}")


def shape_of(shape: object, where: str) -> list[int]:
    """Return a shape: a list of at most MAX_RANK integers of 0 or more. Raises BadRequest."""
    if type(shape) is not list:
        raise BadRequest(f"{where}: shape must be a list of at most {MAX_RANK} sizes, not {kind(shape)}")
    if len(shape) > MAX_RANK:
        raise BadRequest(f"{where}: shape must be a list of at most {MAX_RANK} sizes; it has {len(shape)}")
    for index, size in enumerate(shape):
        if type(size) is not int or size < 0:
            raise BadRequest(
                f"{where}: shape must hold integers of 0 or more; size {index} is {number_or_kind(size)}"
            )
    return shape


def check_parameters(parameters: Mapping[str, object], where: str) -> None:
    """Refuse parameters that would change a tensor; others are ignored, as the protocol says."""
    for name in _FOREIGN:
        if name in parameters:
            raise BadRequest(f"{where}: parameter {name!r} is of an extension that is not supported")


def complete(
    arrays: Sequence[Array | None], tensors: Sequence[Tensor], indices: Mapping[str, int]
) -> list[Array]:
    """Return the inputs in the model's order. Raises BadRequest where one is missing or rows differ."""
    given = [array for array in arrays if array is not None]
    if len(given) < len(arrays):
        missing = next(name for name, index in indices.items() if arrays[index] is None)
        raise BadRequest(f"inputs: {missing!r} is missing")
    same_rows(given, tensors)
    return given
