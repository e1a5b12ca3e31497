"""Counting the parts of a serialized SavedModel before it is parsed.

A node of two bytes takes a hundred once it is parsed, so their number is bounded first. Only lengths are read
(Protocol Buffers, "Encoding").
"""

from typing import Any

# Field numbers: SavedModel.meta_graphs; its graph_def and object_graph_def; nodes, functions, their nodes.
_PARTS: dict[int, Any] = {2: {2: {1: {}, 2: {1: {3: {}}}}, 7: {1: {}}}}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def parts(data: memoryview, limit: int) -> int:
    """Return the number of nodes, functions and objects, at most `limit` + 1.

    Raises ValueError where the bytes are no message.
    """
    waiting: list[tuple[int, int, dict[int, Any]]] = [(0, len(data), _PARTS)]
    count = 0
    while waiting:
        offset, end, inner = waiting.pop()
        while offset < end:
            tag, offset = _varint(data, offset, end)
            kind = tag & 7
            if kind == _VARINT:
                _, offset = _varint(data, offset, end)
            elif kind == _BYTES:
                length, offset = _varint(data, offset, end)
                if tag >> 3 in inner:
                    count += 1
                    if count > limit:
                        return count
                    waiting.append((offset, min(offset + length, end), inner[tag >> 3]))
                offset += length
            elif kind in (_FIXED32, _FIXED64):
                offset += 4 if kind == _FIXED32 else 8
            else:
                raise ValueError("no message")
        if offset > end:
            raise ValueError("cut off")
    return count


def _varint(data: memoryview, offset: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while offset < end and shift < 70:
        byte = data[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
        shift += 7
    raise ValueError("cut off")
