"""Counting the parts of a serialized SavedModel before it is parsed.

A node of two bytes takes a hundred once it is parsed, so their number is bounded first. Only lengths are read
(Protocol Buffers, "Encoding"). Must not import TensorFlow.
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
        place, end, inner = waiting.pop()
        while place < end:
            tag, place = _varint(data, place, end)
            kind = tag & 7
            if kind == _VARINT:
                _, place = _varint(data, place, end)
            elif kind == _BYTES:
                length, place = _varint(data, place, end)
                if tag >> 3 in inner:
                    count += 1
                    if count > limit:
                        return count
                    waiting.append((place, min(place + length, end), inner[tag >> 3]))
                place += length
            elif kind in (_FIXED32, _FIXED64):
                place += 4 if kind == _FIXED32 else 8
            else:
                raise ValueError("no message")
        if place > end:
            raise ValueError("cut off")
    return count


def _varint(data: memoryview, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise ValueError("cut off")
