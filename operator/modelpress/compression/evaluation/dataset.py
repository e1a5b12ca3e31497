"""Data sets: .npz files with x and y, or the names of several inputs and outputs as keys.

Every array is checked before it is read: no pickles, sizes that the file's own headers agree with, the same
number of rows, shapes and dtypes that fit the model; then its values (`data_values`). Arrays are unpacked to
disk and read batch by batch, so that memory does not grow with the data.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, UnavailableError
from modelpress.compression.evaluation import data_values
from modelpress.models.safety import archive
from modelpress.models.types import Array, TensorSpec, first_line, one_line

MAX_BYTES = 64 * 2**30  # unpacked
MAX_EXPANSION = 1100  # deflate reaches 1,032; images with much black come near
_SMALL = 2**20
_CHUNK = 2**20


@dataclass(frozen=True)
class Dataset:
    """Rows of inputs and labels; arrays are memory-mapped files."""

    inputs: Mapping[str, Array]  # arrays by the model's input names
    labels: Mapping[str, Array]  # arrays by the model's output names; empty where none are needed
    specs: tuple[TensorSpec, ...]
    rows: int
    file: str = ""
    unread: Mapping[str, str] = field(default_factory=dict)  # why, by the key of an array that is not used
    numbers: Array | None = None  # of a part of the rows: which ones of the file they are

    def row_name(self, row: int) -> str:
        """Return how messages call a row."""
        return f"{self.file}: row {row if self.numbers is None else self.numbers[row]}"

    def batch(self, start: int, stop: int) -> dict[str, Array]:
        """Return rows start..stop-1 of the inputs in the model's dtypes."""
        return {
            spec.name: np.array(self.inputs[spec.name][start:stop], dtype=spec.dtype) for spec in self.specs
        }


def load(
    path: Path, folder: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, labels: bool
) -> Dataset:
    """Read a data set for a model; arrays are unpacked into the folder `folder`.

    `labels`: whether y is needed. Where it is not, labels that are there and fit are read all the same: the
    report shows more with them. Raises DataError (InvalidData) with one line that names the file, the array,
    and for a value its first row.
    """
    try:
        with archive.open_zip(path) as file:
            arrays = _Arrays(path, file, folder)
            found = {spec.name: _input(arrays, spec, len(inputs)) for spec in inputs}
            rows = len(next(iter(found.values())))
            unfit: dict[str, str] = {}
            expected = _labels(arrays, outputs) if labels else _possible_labels(arrays, outputs, rows, unfit)
    except (*archive.BROKEN, OSError) as error:
        raise invalid(f"{path.name}: not a readable .npz file: {first_line(error)}") from error
    counts = {
        name: len(array) for name, array in (*found.items(), *((f"y of {k}", v) for k, v in expected.items()))
    }
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise invalid(f"{path.name}: all arrays need the same number of rows: {listed}")
    if rows == 0:
        raise invalid(f"{path.name}: has no rows")
    unread = {key: "no input or output is called so" for key in arrays.keys if key not in arrays.taken}
    return Dataset(found, expected, tuple(inputs), rows, path.name, {**unread, **unfit})


@contextmanager
def named(key: str) -> Iterator[None]:
    """Let the InvalidData errors of a data set begin with its key in the spec, such as data.training."""
    try:
        yield
    except DataError as error:
        if error.reason is not Reason.INVALID_DATA or error.message.startswith(key):
            raise
        raise invalid(f"{key}: {error.message}") from error


def has_labels(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Return whether the file has y, or an array with the name of an output, that is no input.

    Raises InvalidData.
    """
    try:
        with archive.open_zip(path) as file:
            keys = {name.removesuffix(".npy") for name in file.namelist()}
    except (*archive.BROKEN, OSError) as error:
        raise invalid(f"{path.name}: not a readable .npz file: {first_line(error)}") from error
    names = {"y", *(spec.name for spec in outputs)} - {spec.name for spec in inputs}
    return not keys.isdisjoint(names)


def invalid(message: str) -> DataError:
    """Return the error for a data set that cannot be used."""
    return DataError(Reason.INVALID_DATA, one_line(message))


class _Arrays:
    """The arrays of an .npz file by key, unpacked when asked for."""

    def __init__(self, path: Path, file: zipfile.ZipFile, folder: Path) -> None:
        self.name = path.name
        self._packed = path.stat().st_size
        self._file = file
        self._folder = folder
        self.keys = [name.removesuffix(".npy") for name in file.namelist()]
        self.taken: set[str] = set()  # keys of the arrays that were read
        folder.mkdir(parents=True, exist_ok=True)

    def first(self, *keys: str) -> str | None:
        """Return the first of `keys` that is there and not taken: an input is no label."""
        return next((key for key in keys if key in self.keys and key not in self.taken), None)

    def read(self, key: str) -> Array:
        entry = self._file.getinfo(f"{key}.npy" if f"{key}.npy" in self._file.namelist() else key)
        if entry.file_size > MAX_BYTES or (
            entry.file_size > _SMALL and entry.file_size > MAX_EXPANSION * self._packed
        ):
            raise invalid(
                f"{self.name}: array {key} unpacks to {entry.file_size} bytes, more than is accepted"
            )
        target = self._folder / f"{self.keys.index(key)}.npy"  # never a name from the file
        if not target.exists():
            with self._file.open(entry) as packed, target.open("xb") as unpacked:
                self._unpack(packed, unpacked, entry.file_size)
        try:
            array: Any = np.load(target, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # a damaged header can make numpy raise anything
            if "object" in str(error).lower():
                raise invalid(
                    f"{self.name}: array {key} holds Python objects, or rows of different lengths; accepted"
                    f' are numbers: save it as numpy.stack({key}).astype("float32")'
                ) from error
            raise invalid(f"{self.name}: array {key} cannot be read: {first_line(error)}") from error
        if array.dtype.kind not in "fiub":
            raise invalid(
                f"{self.name}: array {key} has dtype {array.dtype}; accepted are numbers and booleans"
            )
        if array.ndim == 0:
            raise invalid(f"{self.name}: array {key} is a single number; its first axis must be the rows")
        self.taken.add(key)
        return array  # type: ignore[no-any-return]

    def _unpack(self, packed: IO[bytes], unpacked: IO[bytes], size: int) -> None:
        left = size
        while piece := packed.read(_CHUNK):
            left -= len(piece)
            if left < 0:
                raise zipfile.BadZipFile("an array is longer than the archive declares")
            try:
                unpacked.write(piece)
            except OSError as error:  # a fault of this machine, not of the file
                raise UnavailableError(
                    Reason.SOURCE_UNAVAILABLE,
                    f"{self.name}: cannot be unpacked: {error.strerror or error}",
                ) from error


def _input(arrays: _Arrays, spec: TensorSpec, count: int) -> Array:
    key = arrays.first(spec.name, "x") if count == 1 else arrays.first(spec.name)
    if key is None:
        expected = f"x or {spec.name}" if count == 1 and spec.name != "x" else spec.name
        raise invalid(f"{arrays.name}: has no array {expected}; it has {_listed(arrays)}")
    array = arrays.read(key)
    fits = array.ndim == len(spec.shape) and all(
        want in (-1, size) for want, size in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise invalid(f"{arrays.name}: input {spec.name} has shape {array.shape}, the model takes {spec}")
    if 0 in array.shape[1:]:
        raise invalid(f"{arrays.name}: array {key} has no values: its shape is {array.shape}")
    whole = np.dtype(spec.dtype).kind in "iu"
    if (whole and array.dtype.kind == "f") or (spec.dtype == "bool" and array.dtype.kind != "b"):
        raise invalid(f"{arrays.name}: input {spec.name} has dtype {array.dtype}, the model takes {spec}")
    if fault := data_values.input_fault(spec, array):
        raise invalid(f"{arrays.name}: array {key}, {fault}")
    return array


def _possible_labels(
    arrays: _Arrays, outputs: Sequence[TensorSpec], rows: int, unfit: dict[str, str]
) -> dict[str, Array]:
    """Return the labels where there are some for each output and row, else none.

    `unfit` gets the keys of those that are there and are not used, with the reason.
    """
    before = set(arrays.taken)
    try:
        labels = _labels(arrays, outputs)
        why = next(
            (f"it has {len(item)} rows, not {rows}" for item in labels.values() if len(item) != rows), ""
        )
    except DataError as error:
        labels, why = {}, error.message.removeprefix(f"{arrays.name}: ")
    if not why:
        return labels
    names = {"y", *(spec.name for spec in outputs)} - before
    unfit |= {key: why for key in arrays.keys if key in names}
    return {}


def _labels(arrays: _Arrays, outputs: Sequence[TensorSpec]) -> dict[str, Array]:
    labels = {}
    for spec in outputs:
        key = arrays.first("y", spec.name) if len(outputs) == 1 else arrays.first(spec.name)
        if key is None:
            inputs = {"y", spec.name} & arrays.taken
            name = spec.name if "y" in inputs else "y"
            expected = name if len(outputs) == 1 else f"{spec.name}, the labels of that output"
            taken = " (an input is no label)" if inputs else ""
            raise invalid(f"{arrays.name}: has no array {expected}; it has {_listed(arrays)}{taken}")
        labels[spec.name] = arrays.read(key)
        if 0 in labels[spec.name].shape[1:]:
            raise invalid(f"{arrays.name}: array {key} has no values: its shape is {labels[spec.name].shape}")
        if fault := data_values.label_fault(labels[spec.name]):
            raise invalid(f"{arrays.name}: array {key}, {fault}")
    return labels


def _listed(arrays: _Arrays) -> str:
    return ", ".join(arrays.keys) or "none"
