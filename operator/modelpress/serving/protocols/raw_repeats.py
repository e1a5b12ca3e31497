"""Requests of the binary tensor extension whose JSON is, to the byte, that of an earlier one.

It means what it meant then, and only the raw tensors are looked at. What has an `id`, or numbers in its JSON,
is not learnt. One thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelpress.serving.executors.base import Array
from modelpress.serving.protocols.base import Call
from modelpress.serving.protocols.raw_tensors import RawTail, array_of_raw
from modelpress.serving.signature import Tensor

_KEPT = 256  # then they are learnt anew
_KEPT_BYTES = 1024  # of the JSON of one


@dataclass(frozen=True, slots=True)
class _Piece:
    place: int  # among the model's inputs
    bytes: int
    shape: list[int]
    where: str  # for messages


@dataclass(frozen=True, slots=True)
class _Known:
    pieces: list[_Piece]  # in the order of the request
    context: Any  # of the call


class RawRepeats:
    """The JSON of requests that were taken lately."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self._inputs = inputs
        self._places = {tensor.name: place for place, tensor in enumerate(inputs)}
        self._known: dict[bytes, _Known] = {}

    def decode(self, json: bytes, tail: RawTail) -> Call | None:
        """Return the call of a request whose JSON is known, else None. Raises BadRequest."""
        known = self._known.get(json) if len(json) <= _KEPT_BYTES else None
        if known is None:
            return None
        arrays: dict[int, Array] = {}
        for piece in known.pieces:
            data = tail.take(piece.bytes, piece.where)
            arrays[piece.place] = array_of_raw(data, piece.shape, self._inputs[piece.place], piece.where)
        tail.end()
        return Call([arrays[place] for place in range(len(arrays))], known.context)

    def learn(self, json: bytes, entries: list[dict[str, Any]], call: Call) -> None:
        """Remember a request that was taken, by its JSON and the inputs in it."""
        if call.id is not None or len(json) > _KEPT_BYTES:
            return
        pieces = []
        for number, entry in enumerate(entries):
            size = (entry.get("parameters") or {}).get("binary_data_size")
            if size is None:
                return
            name = entry["name"]
            pieces.append(_Piece(self._places[name], size, entry["shape"], f"inputs[{number}] {name!r}"))
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[json] = _Known(pieces, call.context)
