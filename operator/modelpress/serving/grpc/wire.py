"""Reads protobuf's wire format within bounds, before any object is made of it. Pure functions.

A parser of messages makes an object for each field, whoever sent it: 16 MiB of empty submessages, of varints
of one byte or of empty strings become hundreds of megabytes. Here a message is a list of at most MOST_FIELDS
views of its bytes, and packed numbers go straight into arrays (protobuf.dev/programming-guides/encoding).
"""

import numpy as np
import numpy.typing as npt

from modelpress.serving.errors import BadRequest

# Fields of one message. An inference needs no more: packed numbers are one field, whatever their number.
MOST_FIELDS = 256

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_VARINT_BYTES = 10
# Packed varints are decoded by so many bytes: that bounds the memory that it takes beside the numbers.
_BLOCK_BYTES = 2**16
_MORE = 0x80  # the bit of a varint's byte that is not its last

Field = tuple[int, memoryview | int]  # tag, and the bytes of a field, or the number in a varint


def tag(number: int, kind: int = LENGTH_DELIMITED) -> int:
    """Return what precedes a field on the wire."""
    return number << 3 | kind


def fields(message: memoryview, where: str) -> list[Field]:
    """Return the fields of a message in their order. Raises BadRequest where it is none, or has too many."""
    found: list[Field] = []
    at, end = 0, len(message)
    try:
        while at < end:
            key = message[at]
            at += 1
            if key >= _MORE:
                key, at = _varint(message, at - 1)
            kind = key & 7
            if kind == VARINT:
                number, at = _varint(message, at)
                found.append((key, number))
            else:
                if kind == LENGTH_DELIMITED:
                    size = message[at]
                    at += 1
                    if size >= _MORE:
                        size, at = _varint(message, at - 1)
                else:
                    size = _FIXED_BYTES[kind]
                start, at = at, at + size
                found.append((key, message[start:at]))
            if key < 8 or len(found) > MOST_FIELDS:
                raise _refused(key, where)
    except IndexError:
        at = end + 1
    except KeyError:
        raise BadRequest(f"{where} is not valid: its wire types are not accepted") from None
    if at > end:
        raise BadRequest(f"{where} is not valid: it ends inside a field")
    return found


def _refused(key: int, where: str) -> BadRequest:
    if key < 8:
        return BadRequest(f"{where} is not valid: a field has the number 0")
    return BadRequest(f"{where} has more than {MOST_FIELDS} fields; send numbers packed, or as raw bytes")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at an index, and the index behind it. Raises IndexError where the data ends."""
    value = data[at]
    if value < _MORE:
        return value, at + 1
    value &= _MORE - 1
    for index in range(1, _VARINT_BYTES):
        byte = data[at + index]
        value |= (byte & (_MORE - 1)) << 7 * index
        if byte < _MORE:
            return value & 2**64 - 1, at + index + 1
    raise BadRequest("the request is not valid: a number has more than ten bytes")


def text(value: memoryview | int, where: str) -> str:
    """Return a string. Raises BadRequest where it is no UTF-8."""
    assert isinstance(value, memoryview)
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"{where} is not UTF-8") from None


def signed(number: int) -> int:
    """Return an int64 that a varint holds."""
    return number - 2**64 if number >= 2**63 else number


def count(packed: memoryview) -> int:
    """Return how many varints are in packed ones."""
    octets = np.frombuffer(packed, np.uint8)
    return int(np.count_nonzero(octets < _MORE))


def varints(packed: memoryview, where: str) -> npt.NDArray[np.uint64]:
    """Return packed varints as 64 bits each. Raises BadRequest where they are none."""
    octets = np.frombuffer(packed, np.uint8)
    if len(octets) and octets[-1] >= _MORE:
        raise BadRequest(f"{where}: the numbers end inside one")
    values = np.empty(count(packed), np.uint64)
    at = filled = 0
    while at < len(octets):
        block = octets[at : at + _BLOCK_BYTES]
        last = np.flatnonzero(block < _MORE)
        if not len(last):
            raise _too_long(where)
        values[filled : filled + len(last)] = _decoded(block, last, where)
        filled += len(last)
        at += int(last[-1]) + 1
    return values


def _decoded(block: npt.NDArray[np.uint8], last: npt.NDArray[np.intp], where: str) -> npt.NDArray[np.uint64]:
    """Return the varints of a block; `last` are the indices of the last byte of each."""
    first = np.empty_like(last)
    first[0], first[1:] = 0, last[:-1] + 1
    sizes = last - first + 1
    values = block[first].astype(np.uint64) & np.uint64(_MORE - 1)
    longest = int(sizes.max())
    if longest > _VARINT_BYTES:
        raise _too_long(where)
    for index in range(1, longest):
        longer = sizes > index
        octet = block[first[longer] + index].astype(np.uint64) & np.uint64(_MORE - 1)
        values[longer] |= octet << np.uint64(7 * index)
    return values


def _too_long(where: str) -> BadRequest:
    return BadRequest(f"{where}: a number has more than ten bytes")


def small_varints(value: memoryview | int, most: int, where: str) -> list[int]:
    """Return one varint, or a packed few, as int64. Raises BadRequest where there are more than `most`."""
    if isinstance(value, int):
        return [signed(value)]
    if len(value) > most * _VARINT_BYTES:
        raise BadRequest(f"{where} must have at most {most} sizes")
    found, at = [], 0
    try:
        while at < len(value):
            number, at = _varint(value, at)
            found.append(signed(number))
    except IndexError:
        raise BadRequest(f"{where} ends inside a number") from None
    return found


def packed(number: int, values: memoryview) -> bytes:
    """Return a field of packed numbers as it is in a message."""
    size, length = len(values), bytearray()
    while size >= _MORE:
        length.append(size & (_MORE - 1) | _MORE)
        size >>= 7
    length.append(size)
    return b"".join((bytes((tag(number),)), length, values))
