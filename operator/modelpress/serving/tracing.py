"""W3C Trace Context, levels 1 and 2 (https://www.w3.org/TR/trace-context/): pure functions.

A worker takes part in a trace that a caller began; it begins none.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"

_LENGTH = 55  # of version 00
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_MEMBER = re.compile(
    rb"(?P<key>[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_MEMBERS = 32
_MAX_STATE_BYTES = 8192
_SAMPLED = 1
_random = random.Random()  # noqa: S311 - ids need be different, not secret; the system's take ten times as long


@dataclass(frozen=True, slots=True)
class Trace:
    """A caller's trace, and our part of it."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # ours, 16 hexadecimal digits
    sampled: bool
    state: bytes | None = None  # tracestate, passed on as it came

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that name our part of the trace."""
        parent = f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"
        state = [(TRACESTATE, self.state)] if self.state else []
        return [(TRACEPARENT, parent.encode()), *state]


def accept(headers: Mapping[bytes, bytes]) -> Trace | None:
    """Return the trace in headers, None if there is none or it is malformed.

    Names are in lower case; lines of one name are joined by commas.
    """
    parent = headers.get(TRACEPARENT)
    found = None if parent is None else _parent(parent)
    if found is None:
        return None
    trace_id, sampled = found
    state = headers.get(TRACESTATE)
    return Trace(trace_id, new_span(), sampled, None if state is None else _state(state))


def new_span() -> str:
    """Return a random id that is not zero."""
    return f"{_random.randrange(1, 2**64):016x}"


def _parent(value: bytes) -> tuple[str, bool] | None:
    """Return the trace id and whether it is sampled; later versions are read as far as version 00 goes."""
    match = _PARENT.match(value)
    if match is None:
        return None
    version, trace, span, flags = match.groups()
    extra = value[_LENGTH:]
    if version == b"ff" or (extra and (version == b"00" or not extra.startswith(b"-"))):
        return None
    if not trace.strip(b"0") or not span.strip(b"0"):
        return None
    return trace.decode(), bool(int(flags, 16) & _SAMPLED)


def _state(joined: bytes) -> bytes | None:
    """Return the members, or None if they break a rule: a bad state does not spoil the trace."""
    members = [member for part in joined.split(b",") if (member := part.strip(b" \t"))]
    if not members or len(members) > _MAX_MEMBERS or len(joined) > _MAX_STATE_BYTES:
        return None
    keys = []
    for member in members:
        match = _MEMBER.fullmatch(member)
        if match is None:
            return None
        keys.append(match["key"])
    return b",".join(members) if len(set(keys)) == len(keys) else None
