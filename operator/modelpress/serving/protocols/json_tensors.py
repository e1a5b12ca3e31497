"""Strict conversion between JSON values and arrays, shared by the JSON protocols. Pure functions.

numpy alone would turn strings, booleans and null into numbers, cut 2.5 down to 2, and overflow to infinity;
struct refuses what does not fit, and is quicker.
"""

import json
import struct
from collections.abc import Callable, Sequence, Set
from itertools import chain
from math import isinf
from typing import Any, NamedTuple, TypeGuard, TypeVar

import numpy as np
import orjson

from modelpress.serving.errors import BadRequest
from modelpress.serving.executors.base import Array
from modelpress.serving.protocols.base import Body
from modelpress.serving.protocols.json_numbers import Numbers, read
from modelpress.serving.signature import Tensor

T = TypeVar("T")

_JSON_TYPES = {
    bool: "a boolean",
    dict: "an object",
    float: "a floating-point number",
    int: "an integer",
    list: "a list",
    Numbers: "a list",
    str: "a string",
    type(None): "null",
}
_ACCEPTED: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "booleans"),
    "i": ({int}, "integers"),
    "u": ({int}, "integers"),
    "f": ({int, float}, "numbers"),
}
_FLOATS = frozenset((float,))
# struct's codes by numpy's; in the native ones a float may overflow.
_CODES = {np.dtype(code).char: code for code in "?bBhHiIefd"} | {
    np.dtype(name).char: code for name, code in (("int64", "q"), ("uint64", "Q"))
}
_LARGEST = {code: float(np.finfo(code).max) for code in "efd"}
# A client's own words are repeated in messages up to this length.
_ECHO = 80
# Shorter bodies cost less as plain values than the comparison of what `read` found with the text.
_LONG = 2048  # bytes
_LARGE_INTEGER = 2**63  # JSON's integers from here on may come as floats
_SAFE_INTEGER = 2**53
_MAX_DEPTH = 1024  # orjson's own limit


def parse_object(body: Body) -> dict[str, Any]:
    """Return the JSON object in `body`; numbers may be NaN, Infinity and -Infinity. Raises BadRequest."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        deep = "depth" in str(error) or "Recursion" in str(error)
        value = None if deep else _parse_extended(bytes(body))
        if value is None:
            why = f"it is nested deeper than {_MAX_DEPTH} levels" if deep else error
            raise BadRequest(f"the body is not valid JSON: {why}") from error
    if type(value) is not dict:
        raise BadRequest(f"the body must be a JSON object, not {kind(value)}")
    return value


def _parse_extended(body: bytes) -> Any:
    """Return the value of a document with numbers that JSON has not, None where something else is wrong.

    TensorFlow Serving takes them bare, as JavaScript writes them.
    """
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    try:
        return json.loads(body.decode(), parse_float=_finite, parse_int=_integer)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    """Return a number, which must not be infinite by its size."""
    value = float(text)
    if isinf(value):
        raise ValueError(text)
    return value


def _integer(text: str) -> int | float:
    """Return a number as orjson does: one of more than 64 bits is a float."""
    value = float(text)
    return int(text) if abs(value) < _SAFE_INTEGER or -(2**63) <= int(text) < 2**64 else _finite(text)


def check_text(value: str, where: str) -> None:
    """Refuse text that cannot be sent back: half of a character of UTF-16."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"{where} has half of a character, which is not valid Unicode") from error


def decode_object(body: Body, decode: Callable[[dict[str, Any]], T], quick: bool) -> T:
    """Return what `decode` makes of the JSON object in `body`. Raises BadRequest.

    Where `quick` says that all inputs are floats, `decode` first gets the large lists of a long body as
    Numbers; whatever it refuses then is read again as plain values, so that there is one strict way, and one
    wording.
    """
    if quick and len(body) >= _LONG and not isinstance(body, memoryview):
        value = read(body)
        if type(value) is dict:
            try:
                return decode(value)
            except BadRequest:
                pass
    return decode(parse_object(body))


def floats_only(tensors: Sequence[Tensor]) -> bool:
    """Whether all tensors hold floating-point numbers."""
    return all(tensor.dtype.kind == "f" for tensor in tensors)


def is_list(value: Any) -> TypeGuard[list[Any] | Numbers]:
    """Whether a value was a list in the JSON."""
    return type(value) is list or type(value) is Numbers


def kind(value: Any) -> str:
    """Return what a JSON value is, in words."""
    return _JSON_TYPES[type(value)]


def echo(value: Any) -> str:
    """Return a client's own word for a message: quoted, on one line and short; other values only by kind."""
    if type(value) is not str:
        return kind(value)
    return repr(value) if len(value) <= _ECHO else repr(value[:_ECHO]) + "..."


def number_or_kind(value: Any) -> str:
    """Return a client's value for a message: a number as it is, which is short; anything else by kind."""
    return repr(value) if type(value) is int or type(value) is float else kind(value)


def empty_or_kind(value: Any) -> str:
    """Return for a message how a JSON value is no list, or that it is an empty one."""
    return "; it is empty" if type(value) is list and not value else f", not {kind(value)}"


class Leaves(NamedTuple):
    """What nested lists hold, in row-major order, and how they are nested."""

    values: list[Any] | Array
    shape: tuple[int, ...]
    kinds: Set[type]  # the types of the values


def flatten(value: list[Any] | Numbers, where: str) -> Leaves:
    """Return the leaves of nested lists. Raises BadRequest if they are ragged."""
    if type(value) is Numbers:
        return Leaves(value.values, value.shape, _FLOATS)
    assert type(value) is list
    shape = [len(value)]
    level = value
    while True:
        kinds = set(map(type, level))
        if list not in kinds:
            return Leaves(level, tuple(shape), kinds)
        if len(level) == 1:
            level = level[0]
            shape.append(len(level))
            continue
        sizes = set(map(len, level)) if kinds == {list} else set()
        if len(sizes) != 1:
            raise _ragged(level, len(shape), where)
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))


def _ragged(level: list[Any], depth: int, where: str) -> BadRequest:
    """Return what is wrong with values at one depth, of which some are lists of one length and some are not.

    A body may have millions of them: nothing is called for each.
    """
    first = level[0]
    if type(first) is list:
        size = len(first)
        differing = (p for p, item in enumerate(level) if type(item) is not list or len(item) != size)
    else:
        differing = (p for p, item in enumerate(level) if type(item) is list)
    index = next(differing)
    found, expected = (
        f"a list of {len(item)}" if type(item) is list else kind(item) for item in (level[index], first)
    )
    return BadRequest(
        f"{where} is ragged: at depth {depth}, index {index} is {found}, but index 0 is {expected}"
    )


def array_of(leaves: Leaves, tensor: Tensor, where: str) -> Array:
    """Return `leaves` as a flat array of the tensor's dtype, exactly or not at all. Raises BadRequest."""
    dtype, values = tensor.dtype, leaves.values
    accepted, words = _ACCEPTED[dtype.kind]
    if not leaves.kinds <= accepted:
        if isinstance(values, np.ndarray):
            raise BadRequest(f"{where}: {dtype} takes {words}")
        index, wrong = next((p, v) for p, v in enumerate(values) if type(v) not in accepted)
        if type(wrong) is float and abs(wrong) >= _LARGE_INTEGER and dtype.kind in "iu":
            raise out_of_range(index, wrong, tensor, where)
        raise BadRequest(f"{where}: value {index} is {kind(wrong)}; {dtype} takes {words}")
    if isinstance(values, np.ndarray):
        array = _rounded(values, dtype)
        if array is None:  # the body is read again as plain values, and then the message says which
            raise BadRequest(f"{where}: a value is out of the range of {dtype}")
        return array
    try:
        return np.frombuffer(struct.pack(f"={len(values)}{_CODES[dtype.char]}", *values), dtype)
    except (OverflowError, struct.error):
        index = _misfit(values, _CODES[dtype.char])
    raise out_of_range(index, values[index], tensor, where)


def out_of_range(index: int, value: Any, tensor: Tensor, where: str) -> BadRequest:
    """Return what is wrong with a number that the tensor's dtype cannot hold."""
    return BadRequest(
        f"{where}: value {index} is {number_or_kind(value)}, out of the range of {tensor.dtype}"
    )


def _misfit(values: list[Any], code: str) -> int:
    """Return the index of the first value that cannot be packed; by halves, there may be millions."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            struct.pack(f"={middle - low}{code}", *values[low:middle])
        except (OverflowError, struct.error):
            high = middle
        else:
            low = middle
    return low


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array | None:
    """Return float64 values in another floating-point type, None where one is out of its range."""
    largest = _LARGEST[dtype.char]
    # quicker than min, max, or to see after the conversion whether all are finite
    if values.item(values.argmax()) <= largest and values.item(values.argmin()) >= -largest:
        return values.astype(dtype)
    with np.errstate(over="ignore"):  # a value that is a little larger is rounded to the largest
        array = values.astype(dtype)
    return array if np.isfinite(array).all() else None


def fit(array: Array, shape: Sequence[int], tensor: Tensor, where: str) -> Array:
    """Return the flat `array` in `shape`, which must be one that the tensor accepts. Raises BadRequest."""
    if not tensor.accepts(shape):
        raise BadRequest(f"{where}: shape {shown(shape)} does not fit {shown(tensor.shape)}")
    if 0 in shape:
        raise BadRequest(f"{where}: shape {shown(shape)} is empty; at least one row is needed")
    check_sizes(shape, tensor, where)
    return array.reshape(shape)


def check_sizes(shape: Sequence[int], tensor: Tensor, where: str) -> None:
    """Raise BadRequest where a size of a shape that the tensor accepts is over its limit."""
    if tensor.most is None:
        return
    for axis, (size, most) in enumerate(zip(shape, tensor.most, strict=True)):
        if axis and size > most:
            raise BadRequest(
                f"{where}: dimension {axis} of shape {shown(shape)} is {size}; at most {most} is accepted"
            )


def same_rows(arrays: Sequence[Array], tensors: Sequence[Tensor]) -> None:
    """Raise BadRequest where inputs have different numbers of rows."""
    if len(arrays) == 1:
        return
    for array, tensor in zip(arrays, tensors, strict=True):
        if len(array) != len(arrays[0]):
            raise BadRequest(
                f"inputs must have the same number of rows: {tensors[0].name!r} has {len(arrays[0])},"
                f" {tensor.name!r} has {len(array)}"
            )


def shown(shape: Sequence[int]) -> str:
    """Return a shape for a message: short, whatever a client sent."""
    sizes = ",".join(str(size) for size in shape[:9])
    return f"[{sizes}{',...' if len(shape) > 9 else ''}]"


def dump(value: Any) -> bytes:
    """Return JSON; arrays are written as lists, NaN and infinities as null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
