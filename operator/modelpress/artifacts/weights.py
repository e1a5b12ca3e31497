"""weights.safetensors: the variables of the form for GPU devices, each as integers with scale and bias or as
floats.

A variable NAME is the tensor `value/NAME`. Integers q of int8 or int4 have `scale/NAME` (float32) and
`bias/NAME` (int32, the zero point) beside it, each one number for each channel of an axis or one for all:
x_q = round(x * scale + bias), and the value is (q - bias) * (1 / scale), computed in float32. Two int4 share
a byte (`int4`), in a tensor of one dimension. The metadata entry `modelpress` is JSON with the storage, the
shape and the axis of each variable, in the model's order.

The format is https://github.com/huggingface/safetensors: a header of sizes, which must fill the file exactly,
and plain numbers. Files are mapped, and read one tensor at a time.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import ml_dtypes  # noqa: F401 - tells numpy the name bfloat16, which safetensors asks for
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError
from modelpress.artifacts import int4

WEIGHTS_FILE = "weights.safetensors"
SCHEMA_VERSION = 1

Array = npt.NDArray[Any]
LIMITS = {"int8": (-128, 127), "int4": (int4.LOWEST, int4.LARGEST)}  # lowest and highest stored integer
Storage = Literal[
    "float32",
    "float16",
    "bfloat16",
    "int8",
    "int4",
    "float64",
    "bool",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
]

_NAMES = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int8": "I8",
    "float64": "F64",
    "bool": "BOOL",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
}  # numpy's name, and the one in the file's header
_METADATA = "modelpress"
_LONGEST = 2048  # name of a variable


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=_LONGEST)
    storage: Storage
    shape: tuple[Annotated[int, Field(ge=0)], ...] = Field(max_length=32)
    quantized: bool = False  # has scale and bias
    axis: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.storage == "int4" and not self.quantized) or (self.quantized and self.storage not in LIMITS):
            raise ValueError(f"{self.name}: {self.storage} with quantized={self.quantized}")
        if self.axis is not None and (not self.quantized or self.axis >= len(self.shape)):
            raise ValueError(f"{self.name}: has no axis {self.axis} of scales")
        return self


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = Field(ge=1)
    tensors: tuple[_Entry, ...]


@dataclass(frozen=True)
class StoredTensor:
    """One variable as it is stored.

    `data` has the shape `shape`, but int4, which is packed: uint8 of one dimension. `scale` (float32) and
    `bias` (int32) are of quantized variables only: one number for each channel of `axis`, or one where `axis`
    is None; one bias can also hold for all channels.
    """

    name: str
    storage: Storage
    shape: tuple[int, ...]
    data: Array
    scale: Array | None = None
    bias: Array | None = None
    axis: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all its numbers in the file."""
        arrays = (self.data, self.scale, self.bias)
        return sum(array.nbytes for array in arrays if array is not None)

    def integers(self) -> npt.NDArray[np.int8]:
        """Return the integers q in the variable's shape."""
        if self.storage == "int4":
            return int4.unpack(self.data, _count(self.shape)).reshape(self.shape)
        return np.asarray(self.data, dtype=np.int8)

    def values(self) -> Array:
        """Return the numbers that it stands for: float32 of integers, else in the stored dtype."""
        if self.scale is None or self.bias is None:
            return self.data
        step, offset = np.float32(1) / self.scale, self.bias.astype(np.float32)
        return np.asarray((self.integers().astype(np.float32) - self.aligned(offset)) * self.aligned(step))

    def aligned(self, numbers: Array) -> Array:
        """Return scales or zero points, one or one for each channel, in a shape that meets the variable's."""
        channels = numbers.size > 1
        return numbers.reshape(
            [-1 if channels and index == self.axis else 1 for index in range(len(self.shape))]
        )


def plain(name: str, value: Array) -> StoredTensor:
    """Return a variable stored as it is.

    Raises DataError (UnsupportedModel) for a dtype that the file cannot hold, or a name that is too long.
    """
    if len(name) > _LONGEST:
        raise DataError(
            Reason.UNSUPPORTED_MODEL, f"variable {name[:100]}...: its name has more than {_LONGEST} letters"
        )
    kind: Any = value.dtype.name
    if kind not in _NAMES:
        raise DataError(Reason.UNSUPPORTED_MODEL, f"variable {name} has dtype {kind}, which cannot be stored")
    return StoredTensor(name, kind, value.shape, value)


def save(tensors: Iterable[StoredTensor], path: Path) -> None:
    """Write variables of different names to a file. The same ones always give the same bytes."""
    arrays: dict[str, Array] = {}
    entries = []
    for item in tensors:
        parts = {"value": item.data, "scale": item.scale, "bias": item.bias}
        for part, array in parts.items():
            if array is not None:
                arrays[f"{part}/{item.name}"] = np.asarray(array, order="C")
        quantized = item.scale is not None
        entries.append(
            _Entry(
                name=item.name, storage=item.storage, shape=item.shape, quantized=quantized, axis=item.axis
            )
        )
    found = _Metadata(version=SCHEMA_VERSION, tensors=tuple(entries))
    save_file(arrays, path, metadata={_METADATA: found.model_dump_json(exclude_defaults=True)})


def read(path: Path, only: Container[str] | None = None) -> Iterator[StoredTensor]:
    """Yield the variables of a file, or `only` those of some names, in the model's order.

    Each is checked when it is reached.

    Raises MissingError (ArtifactLost) where there is no file, DataError (ArtifactCorrupt) naming the tensor
    where it does not hold what it says.
    """
    try:
        with safe_open(path, framework="np") as file:
            entries = _entries(file, path)
            for entry in entries:
                if only is None or entry.name in only:
                    yield _tensor(file, entry, path)
    except FileNotFoundError as error:
        raise MissingError(Reason.ARTIFACT_LOST, f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise _corrupt(path, f"is no safetensors file: {error}") from error


def _entries(file: Any, path: Path) -> tuple[_Entry, ...]:
    try:
        found = _Metadata.model_validate_json((file.metadata() or {}).get(_METADATA, ""))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the entry"
        raise _corrupt(path, f"metadata {_METADATA}: {where}: {first['msg']}") from error
    if found.version > SCHEMA_VERSION:
        raise _corrupt(
            path,
            f"version {found.version} was written by a newer release; this one reads up to {SCHEMA_VERSION}",
        )
    expected: list[str] = []
    for entry in found.tensors:
        parts = ("value", "scale", "bias") if entry.quantized else ("value",)
        expected.extend(f"{part}/{entry.name}" for part in parts)
    there = set(file.keys())
    if len(set(expected)) < len(expected):
        raise _corrupt(path, f"metadata {_METADATA}: two variables have one name")
    if missing := sorted(set(expected) - there):
        raise _corrupt(path, f"tensor {missing[0]} is missing")
    if extra := sorted(there - set(expected)):
        raise _corrupt(path, f"tensor {extra[0]} belongs to no variable of the metadata")
    return found.tensors


def _tensor(file: Any, entry: _Entry, path: Path) -> StoredTensor:
    packed = entry.storage == "int4"
    shape = (-(-_count(entry.shape) // 2),) if packed else entry.shape
    data = _array(file, f"value/{entry.name}", "uint8" if packed else entry.storage, shape, path)
    if not entry.quantized:
        return StoredTensor(entry.name, entry.storage, entry.shape, data)
    channels = (1,) if entry.axis is None else (entry.shape[entry.axis],)
    scale = _array(file, f"scale/{entry.name}", "float32", channels, path)
    one = tuple(file.get_slice(f"bias/{entry.name}").get_shape()) == (1,)
    bias = _array(file, f"bias/{entry.name}", "int32", (1,) if one else channels, path)
    with np.errstate(divide="ignore", over="ignore"):
        if not (np.isfinite(scale).all() and (scale > 0).all() and np.isfinite(np.float32(1) / scale).all()):
            raise _corrupt(path, f"tensor scale/{entry.name} holds numbers that are no scale")
    low, high = LIMITS[entry.storage]
    if not ((bias >= low) & (bias <= high)).all():
        raise _corrupt(path, f"tensor bias/{entry.name} holds numbers beyond {low} to {high}")
    return StoredTensor(entry.name, entry.storage, entry.shape, data, scale, bias, entry.axis)


def _array(file: Any, key: str, dtype: str, shape: tuple[int, ...], path: Path) -> Array:
    view = file.get_slice(key)  # the header's words; nothing is read yet
    found, sizes = str(view.get_dtype()), tuple(view.get_shape())
    if found != _NAMES[dtype] or sizes != shape:
        raise _corrupt(
            path,
            f"tensor {key} is {found} of shape {list(sizes)},"
            f" expected is {_NAMES[dtype]} of shape {list(shape)}",
        )
    return np.asarray(file.get_tensor(key))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size  # Python's integers do not overflow
    return count


def _corrupt(path: Path, what: str) -> DataError:
    return DataError(Reason.ARTIFACT_CORRUPT, " ".join(f"{path}: {what}".split()))
