"""W3C Trace Context, levels 1 and 2 (https://www.w3.org/TR/trace-context/), and B3: pure functions.

A worker takes part in a trace that a client began; it begins none. B3 (github.com/openzipkin/b3-propagation)
is read for the log where there is no traceparent; an answer names only traces of the W3C's form.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
_SINGLE, _TRACE_ID, _B3_SAMPLED, _B3_FLAGS = b"b3", b"x-b3-traceid", b"x-b3-sampled", b"x-b3-flags"
B3 = (_SINGLE, _TRACE_ID)

# Version 00 has 55 characters, later ones may have more after a dash. Ids are not zero.
_PARENT = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0+-)([0-9a-f]{32})-(?!0+-)[0-9a-f]{16}-[0-9a-f]([0-9a-f])(?:-.*)?",
    re.DOTALL,
)
_B3 = re.compile(rb"([0-9a-f]{32}|[0-9a-f]{16})-[0-9a-f]{16}(?:-([01d])(?:-[0-9a-f]{16})?)?")
_B3_ID = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{16}")
_MEMBER = re.compile(
    rb"(?P<key>[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_MEMBERS = 32
_MAX_STATE_BYTES = 8192
_SAMPLED = b"13579bdf"  # the digits of flags whose lowest bit is set
_ID_DIGITS = 32
_random = random.Random()  # noqa: S311 - ids need be different, not secret; the system's take ten times as long


@dataclass(slots=True)  # frozen would take three times as long to make
class Trace:
    """A client's trace, and our part of it."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # ours, 16 hexadecimal digits
    sampled: bool
    state: bytes | None = None  # tracestate, passed on as it came
    is_b3: bool = False

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that name our part of the trace."""
        if self.is_b3:
            return []
        parent = f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"
        state = [(TRACESTATE, self.state)] if self.state else []
        return [(TRACEPARENT, parent.encode()), *state]


def accept(headers: Mapping[bytes, bytes]) -> Trace | None:
    """Return the trace in headers, None if there is none or it is malformed.

    Names are in lower case; lines of one name are joined by commas.
    """
    parent = headers.get(TRACEPARENT)
    if parent is None:
        return _b3(headers)
    match = _PARENT.fullmatch(parent)
    if match is None:
        return None
    state = headers.get(TRACESTATE)
    return Trace(
        match[1].decode(), new_span(), match[2] in _SAMPLED, None if state is None else _state(state)
    )


def _b3(headers: Mapping[bytes, bytes]) -> Trace | None:
    """Return the trace in headers of B3, in one or in several."""
    single = headers.get(_SINGLE)
    if single is not None:
        match = _B3.fullmatch(single)
        if match is None:
            return None
        trace_id, sampled = match[1], match[2] in (b"1", b"d")
    else:
        trace_id = headers.get(_TRACE_ID, b"")
        if _B3_ID.fullmatch(trace_id) is None:
            return None
        sampled = headers.get(_B3_SAMPLED) in (b"1", b"true") or headers.get(_B3_FLAGS) == b"1"
    if not trace_id.strip(b"0"):
        return None
    return Trace(trace_id.decode().zfill(_ID_DIGITS), new_span(), sampled, is_b3=True)


def new_span() -> str:
    """Return a random id that is not zero."""
    return f"{_random.getrandbits(64) | 1:016x}"


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
