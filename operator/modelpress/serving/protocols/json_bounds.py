"""How much JSON the inputs of a model can need: counted in a body before objects are made. Pure functions.

Sixteen megabytes of `[]` or `1,` become hundreds of megabytes of objects, and take seconds. What a request
can need is known: its values, the lists around them, and some names. Lists with less in them than the model's
shapes have, other text and other objects are more than that.
"""

from collections.abc import Sequence
from math import inf, prod

import numpy as np

from modelpress.serving.errors import BadRequest, TooLarge
from modelpress.serving.protocols.base import Model
from modelpress.serving.signature import Tensor

SHORT = 64 * 1024  # a body of so few bytes can do no harm
_SPARE = 1024  # lists, objects and values beside the tensors: shapes, outputs, parameters
_TEXT = 64 * 1024  # bytes of names and other words
_VALUE_BYTES = 256  # the most that one value or list takes, with the blanks before it
_COUNTED_APART = b"0123456789+-.eE \t\r\n[],"
_WORDS = (b"NaN", b"Infinity", b"true", b"false")  # words that stand for values


class JsonBounds:
    """What bodies for one model may hold."""

    def __init__(self, model: Model) -> None:
        inputs, rows = model.signature.inputs, model.max_rows
        self._values = rows * sum(map(_values, inputs)) + _SPARE
        self._lists = rows * sum(map(_lists, inputs)) + _SPARE
        self._lists_per_value = max(map(_lists_per_value, inputs))
        self._objects = rows + _SPARE  # one for each row, if its inputs are named there
        self._object_bytes = 2 + sum(len(tensor.name.encode()) + len('"":') for tensor in inputs)

    def check(self, body: bytes | bytearray | memoryview) -> None:
        """Raise TooLarge or BadRequest for a body that holds more than the model's inputs can need.

        Those that are SHORT need no check.
        """
        characters = np.frombuffer(body, np.uint8)
        values = _count(characters, ",") + 1
        if values > self._values:
            raise TooLarge(f"the JSON has {values} values; this model takes at most {self._values}")
        lists = _count(characters, "[")
        if lists > min(self._lists, _SPARE + values * self._lists_per_value):
            raise BadRequest(f"the JSON has {lists} lists, too many for {values} values of this model")
        objects = _count(characters, "{")
        if objects > self._objects:
            raise BadRequest(f"the JSON has {objects} objects; this model takes at most {self._objects}")
        if len(body) > _TEXT + (values + lists) * _VALUE_BYTES:
            raise BadRequest(f"the JSON has {len(body)} bytes for {values} values and {lists} lists")
        text = bytes(body)
        rest = len(text.translate(None, _COUNTED_APART))
        if rest > _TEXT:
            rest -= sum(len(word.translate(None, _COUNTED_APART)) * text.count(word) for word in _WORDS)
        if rest > _TEXT + objects * self._object_bytes:
            raise BadRequest(
                f"the JSON has {rest} bytes of text beside its values; at most {_TEXT} are taken"
            )


def _count(characters: "np.ndarray[tuple[int], np.dtype[np.uint8]]", character: str) -> int:
    return int(np.count_nonzero(characters == ord(character)))


def _values(tensor: Tensor) -> float:
    """Return how many values a row of a tensor has."""
    sizes = tensor.largest[1:]
    return inf if -1 in sizes else prod(sizes)


def _lists(tensor: Tensor) -> float:
    """Return in how many lists the values of a row are: (-1, 2, 3) gives 1 + 2."""
    sizes = tensor.largest[1:]
    return inf if -1 in sizes else sum(prod(sizes[:depth]) for depth in range(len(sizes)))


def _lists_per_value(tensor: Tensor) -> float:
    """Return how many lists there may be for each value: (-1, 2, 3) gives 1/3 + 1/6; free sizes may be 1."""
    sizes: Sequence[int] = [max(size, 1) for size in tensor.shape[1:]]
    return sum(1 / prod(sizes[depth:]) for depth in range(len(sizes)))
