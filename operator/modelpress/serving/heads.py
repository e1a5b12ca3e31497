"""What the fast path knows of the heads of requests: clients repeat them to the byte. Pure data."""

from dataclasses import dataclass

from modelpress.serving.protocols.base import InferenceProtocol

_END_OF_HEAD = b"\r\n\r\n"
_KEPT_HEADS = 1024
_KEPT_HEAD_BYTES = 1024  # of one


@dataclass(frozen=True, slots=True)
class Head:
    """What this path needs to know of the head of a request."""

    protocol: InferenceProtocol
    length: int  # of the body
    json_length: int | None
    accept_encoding: bytes
    observed: bool  # written to the access log, or part of a trace


class Heads:
    """The heads that were taken lately, by their bytes."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def keep(self, data: bytes, body: int, head: Head) -> None:
        """Remember the head of `data`, which is one request up to the first `body` bytes of its body."""
        end = len(data) - body
        # traces differ from request to request, and the parser skips empty lines before one
        if head.observed or end > _KEPT_HEAD_BYTES or not data.startswith(b"POST "):
            return
        if data.find(_END_OF_HEAD) + len(_END_OF_HEAD) != end:
            return
        if len(self._heads) >= _KEPT_HEADS:
            self._heads.clear()
        self._heads[data[:end]] = head

    def find(self, data: bytes) -> tuple[Head, int] | None:
        """Return the head of `data` and its number of bytes, where it is known."""
        end = data.find(_END_OF_HEAD, 0, _KEPT_HEAD_BYTES) + len(_END_OF_HEAD)
        head = self._heads.get(data[:end])
        return None if head is None else (head, end)
