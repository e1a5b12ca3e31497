"""Who asked: what is known of a request beside its content, and a line of JSON about it when it is answered.

Nothing is made of a request while the log is off and no trace comes with it.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import orjson

from modelpress.serving.tracing import TRACEPARENT, Trace, accept

REQUEST_ID = b"x-request-id"
# Headers because of which `Caller.of` is worth a call where the log is off.
OBSERVED = frozenset([TRACEPARENT])
_MAX_TEXT = 256  # of a word that comes from outside


@dataclass(slots=True)
class Caller:
    """One request as the log and the trace see it."""

    method: str
    path: str
    client: str | None  # an address
    request_id: str | None
    trace: Trace | None
    sent: int = 0  # bytes of the answer's body

    @classmethod
    def of(
        cls, method: str, path: str, client: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> "Caller":
        """Read the headers (names in lower case) of a request."""
        pairs = list(headers)
        found = next((value for name, value in pairs if name == REQUEST_ID), None)
        request_id = None if found is None else found.decode("latin-1")[:_MAX_TEXT]
        return cls(method, path[:_MAX_TEXT], client, request_id, accept(pairs))

    def identify(self, call_id: str | None) -> None:
        """Take the id in a request's body where its headers have none."""
        if self.request_id is None and call_id is not None:
            self.request_id = call_id[:_MAX_TEXT]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what the answer says of the trace."""
        return [] if self.trace is None else self.trace.headers()


def facts(caller: Caller | None) -> dict[str, str | None]:
    """Return what finds a request again in other logs, for those that nobody observes too."""
    trace = caller.trace if caller else None
    return {
        "request_id": caller.request_id if caller else None,
        "trace_id": trace.trace_id if trace else None,
        "span_id": trace.span_id if trace else None,
    }


class AccessLog:
    """Writes one line of JSON for each request; lines of one turn of the event loop are written together."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []

    def write(self, caller: Caller, protocol: str | None, status: int, seconds: float) -> None:
        """Note an answered request; `protocol` is None for pages such as health. In the loop only."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "logger": "access",
            "method": caller.method,
            "path": caller.path,
            "status": status,
            "bytes": caller.sent,
            "milliseconds": round(seconds * 1e3, 3),
            "protocol": protocol,
            "client": caller.client,
            **facts(caller),
        }
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write what was noted."""
        lines, self._lines = self._lines, []
        with contextlib.suppress(OSError):  # whoever read the log has gone: answers matter more
            self._stream.write(b"".join(lines))
            self._stream.flush()
