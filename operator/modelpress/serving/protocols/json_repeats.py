"""JSON bodies that differ from an earlier one in the numbers of one array only, as most of a client's do.

The text around that array was taken once and means the same again, so only the array is parsed. That is
exact: in a valid document, one value in place of another leaves a valid document, in which nothing else
changes. Whatever is not as expected goes the long way, which also says what is wrong. Any thread may call.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import orjson

from modelpress.serving.protocols.base import Body, Call
from modelpress.serving.protocols.json_numbers import lists
from modelpress.serving.protocols.json_tensors import nested_array
from modelpress.serving.signature import Tensor

_KEPT = 8  # each may be compared with a body
_KEPT_BYTES = 1024  # of the text on either side
# Of so many new bodies one is learnt: clients that never repeat pay little. An odd number, so that where two
# kinds take turns, both are.
_LEARN_EVERY = 17
_KEPT_LISTS = 1024  # that hold the numbers
_MIN_WIDTH = 128  # of several: to look at one costs as much as fifty numbers
_MARK = "numbers"
_OPENING = ord("[")


@dataclass(frozen=True, slots=True)
class _Known:
    before: bytes
    after: bytes
    brackets: int  # opening ones in a body
    nested: tuple[int, ...]  # shape of the lists between the two
    shape: tuple[int, ...]  # of the input
    context: Any  # of the call


class Repeats:
    """Bodies of one protocol that were taken lately, without their numbers."""

    def __init__(self, inputs: tuple[Tensor, ...], key: str, place: Callable[[dict[str, Any]], Any]) -> None:
        """Expect the numbers under a key that matches `key`; `place` returns its value in a request."""
        self._tensor = inputs[0]
        # a lone array, of which nothing but the number of rows is free
        self._able = len(inputs) == 1 and len(inputs[0].shape) > 1 and -1 not in inputs[0].shape[1:]
        self._array = re.compile(rb'"(?:%b)"\s*:[\s\[]*\[' % key.encode())
        self._place = place
        self._known: tuple[_Known, ...] = ()  # those that were met last first
        self._most = 0  # brackets of one of them
        self._new = 0

    def decode(self, body: Body) -> Call | None:
        """Return the call in a body that repeats an earlier one, None for any other."""
        if type(body) is not bytes or not self._known:
            return None
        brackets = _brackets(body, self._most)
        for known in self._known:
            if known.brackets == brackets and body.startswith(known.before) and body.endswith(known.after):
                numbers = body[len(known.before) : len(body) - len(known.after)]
                array = nested_array(numbers, known.nested, self._tensor)
                if array is not None:
                    if known is not self._known[0]:
                        self._put_first(known)
                    return Call([array.reshape(known.shape)], known.context)
        return None

    def learn(self, body: Body, call: Call) -> Call:
        """Return the call in a body that was new, perhaps after remembering it."""
        if self._able and call.id is None and type(body) is bytes:
            if self._new % _LEARN_EVERY == 0:
                self._keep(body, call)
            self._new += 1
        return call

    def _keep(self, body: bytes, call: Call) -> None:
        found = self._array.search(body, 0, _KEPT_BYTES)
        if found is None:
            return
        opened = [place for place in range(found.start(), found.end()) if body[place] == _OPENING]
        nested = _nested(len(opened), call.inputs[0].shape)
        count = lists(nested)
        if count > _KEPT_LISTS or (count > 1 and nested[-1] < _MIN_WIDTH):
            return
        closed = re.compile(rb"\](?:\s*\]){%d}" % (len(nested) - 1)).search(body, found.end())
        if closed is None:
            return
        before, after = body[: opened[-len(nested)]], body[closed.end() :]
        if len(after) > _KEPT_BYTES or not self._is_numbers(before, after):
            return
        if any((known.before, known.after, known.nested) == (before, after, nested) for known in self._known):
            return
        brackets = before.count(b"[") + count + after.count(b"[")
        self._put_first(_Known(before, after, brackets, nested, call.inputs[0].shape, call.context))

    def _put_first(self, known: _Known) -> None:
        others = [other for other in self._known if other is not known]
        self._known = (known, *others[: _KEPT - 1])
        self._most = max(known.brackets for known in self._known)

    def _is_numbers(self, before: bytes, after: bytes) -> bool:
        """Whether what stands between the two is the value that `place` finds, or alone in lists there."""
        try:
            value = self._place(orjson.loads(b'%b"%b"%b' % (before, _MARK.encode(), after)))
        except (orjson.JSONDecodeError, LookupError, TypeError):
            return False
        while type(value) is list and len(value) == 1:
            value = value[0]
        return bool(value == _MARK)


def _brackets(body: bytes, most: int) -> int:
    """Return how many opening brackets a body has, or a larger number than `most`."""
    count, place = 0, body.find(b"[")
    while place >= 0 and count <= most:
        count += 1
        place = body.find(b"[", place + 1)
    return count


def _nested(depth: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the lists that hold an array of `shape`, less those around that hold one list."""
    if depth != len(shape):
        return (prod(shape),)
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape
