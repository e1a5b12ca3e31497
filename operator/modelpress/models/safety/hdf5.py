"""Checks of HDF5 files: they can refer to other files, and can declare arrays far larger than themselves.

Refused: links other than hard links, external and virtual storage, compressed and otherwise filtered arrays
(a filter can be a plug-in, and a chunk unpacks to any size; Keras writes none), references and text as data,
attributes other than numbers and text, arrays that together are larger than the file.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from modelpress.api.errors import ModelPressError
from modelpress.bounds.room import MAX_ENTRIES
from modelpress.models.safety import hdf5_texts
from modelpress.models.safety.limits import MAX_HDF5_STRUCTURE, SMALL
from modelpress.models.types import first_line, invalid

_NUMBERS = "fiub"
_OPTIMIZER = "/optimizer_weights"  # a group that is never read; Keras writes texts of free length there
_MAX_OPAQUE = 2  # bytes of a number that HDF5 has no type for: bfloat16, float8
_SCALAR_TYPES = (h5py.h5t.TypeStringID, h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeEnumID)


def check(path: Path, name: str) -> int:
    """Check an HDF5 file and return the bytes of its arrays; `name` is the file that messages speak of.

    Raises InvalidModel.
    """
    size = path.stat().st_size
    arrays = attributes = 0
    try:
        with h5py.File(path, "r") as file:
            # before HDF5 reads any text
            shared = hdf5_texts.shares_long_texts(path, file)
            for key, item in _objects(name, file):
                attributes += _attribute_bytes(name, key, item, shared=shared)
                if attributes > size + SMALL:
                    raise invalid(f"{name}: declares more bytes of attributes than it has")
                if isinstance(item, h5py.Dataset):
                    arrays += _array_bytes(name, key, item)
    except ModelPressError:
        raise
    except Exception as error:  # a damaged file can make h5py raise anything
        raise invalid(f"{name}: the HDF5 file cannot be read: {first_line(error)}") from error
    if arrays > size + SMALL:
        raise invalid(f"{name}: declares {arrays} bytes of arrays in a file of {size} bytes")
    if size - arrays > MAX_HDF5_STRUCTURE:
        raise invalid(
            f"{name}: {size - arrays} bytes of the HDF5 file are no arrays; accepted are {MAX_HDF5_STRUCTURE}"
        )
    return arrays


def _objects(name: str, file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Walk all objects once; hard links can form cycles, so they are known by their address.

    The optimizer's group comes last: what another path leads to as well is met under that path.
    """
    waiting: list[tuple[str, h5py.Group | h5py.Dataset]] = [("", file)]
    seen: set[int] = set()
    count = 0
    while waiting:
        prefix, item = waiting.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        yield prefix or "/", item
        for key in item if isinstance(item, h5py.Group) else ():
            count += 1
            if count > MAX_ENTRIES:
                raise invalid(f"{name}: more than {MAX_ENTRIES} objects in the HDF5 file")
            path = f"{prefix}/{key}"[:300]
            if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                raise invalid(
                    f"{name}: {path} links to another object or file; only plain HDF5 objects are accepted"
                )
            inner = item[key]
            if isinstance(inner, h5py.Group | h5py.Dataset):
                waiting.insert(0 if path == _OPTIMIZER else len(waiting), (path, inner))


def _attribute_bytes(name: str, key: str, item: h5py.Group | h5py.Dataset, *, shared: bool) -> int:
    """Return the bytes that the attributes of an object take, except those of a text of free length.

    `shared`: a long text may be referred to more than once.
    """
    total = 0
    unread = key.startswith(_OPTIMIZER)
    for label in item.attrs:
        total += SMALL // MAX_ENTRIES  # a bound on their number
        attribute = h5py.h5a.open(item.id, label.encode("utf-8", "surrogateescape"))
        kind = attribute.get_type()
        if not isinstance(kind, _SCALAR_TYPES):
            raise invalid(f"{name}: attribute {label!r} of {key} is no number and no text")
        count = int(np.prod(attribute.shape or (1,), dtype=np.float64))
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str() and count > 1 and not unread:
            if shared:
                raise invalid(f"{name}: attribute {label!r} of {key} can be the same long text many times")
            total += count * hdf5_texts.LONG
        total += count * kind.get_size()
    return total


def _array_bytes(name: str, key: str, data: h5py.Dataset) -> int:
    if data.external or data.is_virtual:
        raise invalid(f"{name}: the values of {key} are in another file")
    if data.id.get_create_plist().get_nfilters():
        raise invalid(f"{name}: {key} is compressed or filtered; accepted is what model.save writes")
    kind = data.dtype
    opaque = kind.kind == "V" and kind.itemsize <= _MAX_OPAQUE and not kind.fields and not kind.subdtype
    if kind.kind not in _NUMBERS and not opaque:
        raise invalid(f"{name}: {key} holds no numbers but {kind}")
    shapes = [data.shape or (), data.chunks or ()]  # a chunk is read whole
    return max(int(np.prod(shape, dtype=np.float64)) for shape in shapes) * int(kind.itemsize)
