"""Texts of free length in an HDF5 file: how large a list of them can become when it is read.

A list holds references into global heaps, and each can name the same long text, which the file holds once:
64 KiB of references would become gigabytes. HDF5 shows a length only by reading, so the heaps are read here
(HDF5 File Format Specification 3.0, section III.E): a text above LONG must be referred to once. Newer h5py
writes the names of layers as such lists.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

LONG = 512  # bytes; names of layers and weights are shorter
_MAX_LONG = 32  # such texts: a model's structure and its training settings are two
_MAX_OBJECTS = 200_000
_HEAP = b"GCOL"  # the bytes behind it are a version and reserved: a reader of HDF5 may ignore them
_VERSION = 1
_HEAD = 16  # bytes of the head of a heap, and of each text in it
_FREE = 0  # index of what is not used
_WRAP = 2**64
_OFFSET_SIZE = 8  # bytes of an address, as in all files above 4 GiB and in all that h5py writes


def shares_long_texts(path: Path, file: h5py.File) -> bool:
    """Return whether a text above LONG may be referred to more than once; in doubt it may.

    Raises ValueError where HDF5 would read a heap for ever, holding the GIL, or for too many texts.
    """
    # addresses would look different
    shared = bool(file.userblock_size) or file.id.get_create_plist().get_sizes()[0] != _OFFSET_SIZE
    found = 0
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for heap, index, size in _parts(data):  # to the end: the last one may be damaged
            if not shared and index != _FREE and size > LONG:
                found += 1
                shared = found > _MAX_LONG or _is_repeated(data, struct.pack("<QI", heap, index))
    return shared


def _parts(data: mmap.mmap) -> Iterator[tuple[int, int, int]]:
    """Yield address of the heap, index and bytes of each text, and of the free space behind them.

    HDF5 goes from a part to the next by the part's own size: a damaged one can be of no bytes, as free space
    or because the sum with its head does not fit 64 bits. Raises ValueError there.
    """
    count = 0
    heap = data.find(_HEAP)
    while heap >= 0:
        (size,) = _unpack(data, "<Q", heap + 8)
        offset = heap + _HEAD
        while offset + _HEAD <= min(heap + size, len(data)):
            index, _, _, length = _unpack(data, "<HHIQ", offset)
            step = length if index == _FREE else _whole(length)
            count += 1
            if count > _MAX_OBJECTS or (step % _WRAP == 0 and data[heap + len(_HEAP)] == _VERSION):
                raise ValueError("a heap of texts is damaged")
            yield heap, index, length
            if index == _FREE:
                break
            offset += step
        heap = data.find(_HEAP, heap + 1)


def _whole(length: int) -> int:
    """Return the bytes that a text takes with its head."""
    return _HEAD + -(-length // 8) * 8


def _unpack(data: mmap.mmap, layout: str, offset: int) -> tuple[int, ...]:
    size = struct.calcsize(layout)
    return struct.unpack(layout, data[offset : offset + size].ljust(size, b"\0"))


def _is_repeated(data: mmap.mmap, reference: bytes) -> bool:
    first = data.find(reference)
    return first >= 0 and data.find(reference, first + 1) >= 0
