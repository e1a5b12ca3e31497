"""The body of one request while it arrives: within maxRequestBytes, and a budget for all that arrive."""

import numpy as np

from modelpress.serving.errors import Overloaded, TooLarge
from modelpress.serving.exchange import Budget
from modelpress.serving.protocols.base import Body

_ALIGNMENT = 16  # bytes, as numpy aligns what it allocates
LARGE_BYTES = 64 * 1024  # the rest of a body is received into one buffer from here on
# numpy asks for huge pages from here on, which a few bytes would make resident
_LARGEST_BYTES = 4 * 1024 * 1024 - _ALIGNMENT


class ArrivingBody:
    """What has come of a body.

    The parser makes objects of its parts, which are copied again into a whole. The rest of a large one is
    received into one buffer instead: `space` is where.
    """

    __slots__ = ("_budget", "_buffer", "_parts", "held", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._parts: list[bytes] = []
        self._buffer: memoryview | None = None
        self.held = 0  # bytes that count in the budget
        self.size = 0  # bytes

    def add(self, part: bytes) -> None:
        """Take a part from the parser. Raises TooLarge."""
        self._parts.append(part)
        self.size += len(part)
        if self.size > self._budget.max_bytes:
            raise too_large(self._budget.max_bytes)

    def hold(self) -> None:
        """Count what has come. Raises Overloaded where too much arrives at once."""
        grown, self.held = self.size - self.held, self.size
        if grown and not self._budget.hold(grown):
            raise Overloaded("too many large requests arrive at once; try again later")

    def buffer(self, length: int, tensors: int) -> bool:
        """Provide space for the rest of `length` bytes where that pays; returns whether it does.

        Raw tensors follow the first `tensors` of them: they are aligned, so that the model's runtime need not
        copy them again. The memory is not resident before bytes come.
        """
        if not LARGE_BYTES + self.size <= length <= _LARGEST_BYTES:
            return False
        skipped = -tensors % _ALIGNMENT
        self._buffer = memoryview(np.empty(skipped + length, np.uint8))[skipped:]  # type: ignore[arg-type]
        self._buffer[: self.size] = b"".join(self._parts)
        self._parts = []
        return True

    def space(self) -> memoryview:
        """Return what is still empty: what follows the body is left to the parser."""
        assert self._buffer is not None
        return self._buffer[self.size :]

    def grow(self, count: int) -> bool:
        """Note bytes that came into `space`; returns whether it is full."""
        assert self._buffer is not None
        self.size += count
        return self.size == len(self._buffer)

    def take(self, raw: bool) -> Body:
        """Return the whole; JSON, other than raw tensors, is parsed from bytes."""
        buffer, parts = self._buffer, self._parts
        self._buffer, self._parts = None, []
        if buffer is not None:
            return buffer if raw else bytes(buffer)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self) -> None:
        """Count it out of the budget, and forget it."""
        self._buffer, self._parts = None, []
        if self.held:
            self._budget.release(self.held)
            self.held = 0


def too_large(max_bytes: int) -> TooLarge:
    """Return what is wrong with a body of more bytes."""
    return TooLarge(f"the body is larger than maxRequestBytes, which is {max_bytes}")
