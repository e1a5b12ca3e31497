"""Reads JSON in which large arrays of numbers become arrays at once, without an object for each number.

It is quick or not at all: `read` returns None for what it does not read exactly as the strict parser does,
which then reads the body and says what is wrong. pysimdjson checks the grammar, numbers and UTF-8, but it
flattens ragged lists and takes any order of nesting; so what was read is compared with the text. Both are
reduced to what is left of JSON without numbers and blanks, `{"instancs":[[,,],[,,]]}`: this determines every
list and its length, every key, every string and what is no number.

pysimdjson has no wheels for every Python: without it, nothing is read here. Pure functions.
"""

import threading
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

try:
    import simdjson
except ImportError:
    simdjson = None  # type: ignore[assignment]

T = TypeVar("T")

_NUMERIC = b"0123456789+-.eE \t\r\n"  # what numbers and blanks are made of
_WORDS = {True: b"tru", False: b"fals", None: b"null"}  # without what is in _NUMERIC
_MAX_DEPTH = 16  # levels of lists and objects around the arrays of numbers
_MAX_KEYS = 64  # in one object: the parser looks for each key among all
# Smaller arrays stay lists: shapes are among them.
_MIN_NUMBERS = 17
# A parser keeps the memory of its largest document.
_MAX_KEPT_BYTES = 2**20


class Numbers:
    """An array of numbers with its shape: float64 values in row-major order."""

    __slots__ = ("shape", "values")

    def __init__(self, values: npt.NDArray[np.float64], shape: tuple[int, ...]) -> None:
        self.values = values
        self.shape = shape


class _Local(threading.local):
    """A parser belongs to one thread."""

    parser: Any = None


_local = _Local()


def read(body: bytes | bytearray) -> Any:
    """Return the value of a document, large arrays as Numbers; None where the strict parser is needed."""
    outline: list[bytes] = []
    value = _parsed(body, lambda value: _plain(value, outline, 0))
    if value is None:
        return None
    return value if b"".join(outline) == body.translate(None, _NUMERIC) else None


def _flat(value: Any) -> npt.NDArray[np.float64]:
    if type(value) is not simdjson.Array:
        raise TypeError("no list")
    return np.frombuffer(value.as_buffer(of_type="d"), np.float64)


def _parsed(body: bytes | bytearray, convert: Callable[[Any], T | None]) -> T | None:
    """Return what `convert` makes of a parsed document; None where either cannot."""
    if simdjson is None:
        return None
    parser = _local.parser
    if parser is None or len(body) > _MAX_KEPT_BYTES:
        parser = simdjson.Parser()
    _local.parser = None  # one that failed may still have values in use, and then refuses the next document
    try:
        value = convert(parser.parse(body))
    except (ValueError, TypeError, RuntimeError, LookupError):
        return None
    if len(body) <= _MAX_KEPT_BYTES:
        _local.parser = parser
    return value


def _plain(value: Any, outline: list[bytes], depth: int) -> Any:
    """Return a value of the parser as one of Python, and append the text that it should come from."""
    kind = type(value)
    if kind is str:
        outline.append(b'"%b"' % value.encode().translate(None, _NUMERIC))
        return value
    if kind is int or kind is float:
        return value
    if kind is simdjson.Array:
        return _list(value, outline, depth)
    if kind is simdjson.Object:
        return _dict(value, outline, depth)
    outline.append(_WORDS[value])
    return value


def _dict(value: Any, outline: list[bytes], depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    if len(value) > _MAX_KEYS:
        raise ValueError("too many keys")
    result: dict[str, Any] = {}
    before = b'{"'
    for key in value.keys():  # noqa: SIM118 - not a mapping of Python; items() would make all plain
        if key in result:
            raise ValueError("a key is given twice")
        outline.append(b'%b%b":' % (before, key.encode().translate(None, _NUMERIC)))
        result[key] = _plain(value[key], outline, depth + 1)
        before = b',"'
    outline.append(b"}" if result else b"{}")
    return result


def _list(value: Any, outline: list[bytes], depth: int) -> "list[Any] | Numbers":
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    shape = []
    head = value
    while type(head) is simdjson.Array and len(head):
        shape.append(len(head))
        head = head[0]
    if type(head) is float or type(head) is int:
        return _numbers(value, tuple(shape), outline)
    result = []
    before = b"["
    for item in value:
        outline.append(before)
        result.append(_plain(item, outline, depth + 1))
        before = b","
    outline.append(b"]" if result else b"[]")
    return result


def _numbers(value: Any, shape: tuple[int, ...], outline: list[bytes]) -> "list[Any] | Numbers":
    """Return the list whose first entries have `shape`; it is compared with the text whether all have."""
    values = _flat(value)
    if len(values) != prod(shape):  # before anything is made of a shape that the text only claims
        raise ValueError("ragged")
    outline.append(_commas(shape) if len(values) <= _MAX_KEPT_BYTES else _commas.__wrapped__(shape))
    if len(values) < _MIN_NUMBERS:
        plain: list[Any] = value.as_list()
        return plain
    return Numbers(values, shape)


@lru_cache(maxsize=16)
def _commas(shape: tuple[int, ...]) -> bytes:
    """Return nested lists without their numbers: (2, 3) gives [[,,],[,,]]."""
    text = b""
    for size in reversed(shape):
        text = b"[%b]" % (text + (b"," + text) * (size - 1))
    return text
