"""Checks of HDF5 files: they can refer to other files, and can declare arrays far larger than themselves.

Refused: links other than hard links, external and virtual storage, references and text as data, arrays that
together exceed the bounds of `limits`. Must not import TensorFlow.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from modelpress.models.limits import MAX_ENTRIES, MAX_EXPANSION, MAX_MODEL_BYTES, SMALL
from modelpress.models.types import first_line, invalid

_NUMBERS = "fiubcV"  # V: bfloat16, which HDF5 has no type for


def check(path: Path, name: str) -> int:
    """Check an HDF5 file and return the bytes of its arrays; `name` is the file that messages speak of.

    Raises InvalidModel.
    """
    try:
        with h5py.File(path, "r") as file:
            total = sum(_array_bytes(name, key, data) for key, data in _arrays(name, file))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise invalid(f"{name}: the HDF5 file cannot be read: {first_line(error)}") from error
    if total > MAX_MODEL_BYTES or (total > SMALL and total > MAX_EXPANSION * path.stat().st_size):
        raise invalid(f"{name}: declares {total} bytes of arrays in a file of {path.stat().st_size} bytes")
    return total


def _arrays(name: str, file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Walk all groups once; hard links can form cycles, so groups are known by their address."""
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    seen = {h5py.h5o.get_info(file.id).addr}
    count = 0
    while waiting:
        prefix, group = waiting.pop()
        for key in group:
            count += 1
            if count > MAX_ENTRIES:
                raise invalid(f"{name}: more than {MAX_ENTRIES} objects in the HDF5 file")
            path = f"{prefix}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise invalid(
                    f"{name}: {path} links to another place or file; only plain HDF5 objects are accepted"
                )
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((path, item))
            elif isinstance(item, h5py.Dataset):
                yield path, item


def _array_bytes(name: str, key: str, data: h5py.Dataset) -> int:
    if data.external or data.is_virtual:
        raise invalid(f"{name}: the values of {key} are in another file")
    if data.dtype.kind not in _NUMBERS:
        raise invalid(f"{name}: {key} holds no numbers but {data.dtype}")
    return int(np.prod(data.shape or (), dtype=np.float64)) * int(data.dtype.itemsize)
