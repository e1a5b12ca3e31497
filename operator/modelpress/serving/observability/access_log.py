"""Who asked: what is known of a request beside its content, and a line of JSON about it when it is answered.

Nothing is made of a request while the log is off and no trace comes with it.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import orjson

from modelpress.api.text import printable_json
from modelpress.serving.observability.trace import B3, TRACEPARENT, Trace, accept

REQUEST_ID = b"x-request-id"
# Headers because of which `ClientInfo.of` is worth a call where the log is off.
OBSERVED = frozenset([TRACEPARENT, REQUEST_ID, *B3])
_MAPPED = "::ffff:"  # begins the address of an IPv4 client where a socket takes both families
_MAX_TEXT = 256  # characters of a word that comes from outside
_WAITING_TURNS = 256  # turns of the event loop whose lines may wait for the stream
_LAST_SECONDS = 1.0  # what waits has so long to be written at the end
_RETRY_SECONDS = 0.05


@dataclass(slots=True)
class ClientInfo:
    """One request as the log and the trace see it."""

    method: str | None  # None where the head could not be read
    path: str | None
    client: str | None  # the address
    request_id: str | None
    trace: Trace | None
    sent: int = 0  # bytes of the answer's body
    named: bytes | None = None  # the id as it came in a header

    @classmethod
    def of(
        cls, method: str | None, path: str | None, client: str | None, headers: Mapping[bytes, bytes]
    ) -> "ClientInfo":
        """Read the headers (names in lower case) of a request."""
        found = headers.get(REQUEST_ID)
        request_id = None if found is None else _text(found)[:_MAX_TEXT]
        address = None if client is None else client.removeprefix(_MAPPED)
        path = None if path is None else path[:_MAX_TEXT]
        return cls(method, path, address, request_id, accept(headers), named=found)

    def identify(self, call_id: str | None) -> None:
        """Take the id in a request's body where its headers have none."""
        if self.request_id is None and call_id is not None:
            self.request_id = call_id[:_MAX_TEXT]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what the answer says of the request: its id, as it came, and the trace."""
        named = [] if self.named is None else [(REQUEST_ID, self.named)]
        return named if self.trace is None else named + self.trace.headers()


def _text(value: bytes) -> str:
    """Return a header's text: UTF-8, or Latin-1 as older clients send it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def facts(caller: ClientInfo | None) -> dict[str, str | None]:
    """Return what finds a request again in other logs, for those that nobody observes too."""
    trace = caller.trace if caller else None
    return {
        "request_id": caller.request_id if caller else None,
        "trace_id": trace.trace_id if trace else None,
        "span_id": trace.span_id if trace else None,
    }


def _written(line: Mapping[str, object]) -> bytes:
    """Return a line of JSON that also a terminal may be shown: a client chooses the path and the id."""
    text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    return text if text.isascii() and b"\x7f" not in text else printable_json(text.decode()).encode()


class AccessLog:
    """Writes one line of JSON for each request; lines of one turn of the event loop are written together.

    On a thread of its own: where nobody reads the stream, lines are lost and counted, and answers go on.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Write to an unbuffered stream: the lock of a buffer would break the end of the process."""
        self._stream = stream
        self._lines: list[bytes] = []
        self._lost = 0
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_WAITING_TURNS)
        self._writer = threading.Thread(target=self._write_all, name="access-log", daemon=True)
        self._writer.start()

    def write(self, caller: ClientInfo, protocol: str | None, status: int, seconds: float) -> None:
        """Note an answered request; `protocol` is None for pages such as health. In the loop only."""
        line = {
            "time": _now(),
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
        self._lines.append(_written(line))

    def flush(self) -> None:
        """Hand what was noted to the thread."""
        lines, self._lines = self._lines, []
        if not lines and not self._lost:
            return
        text = b"".join(lines)
        if self._lost:
            lost = {"time": _now(), "logger": "access", "message": f"{self._lost} lines were lost"}
            text = orjson.dumps(lost, option=orjson.OPT_APPEND_NEWLINE) + text
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._lost += len(lines)
        else:
            self._lost = 0

    def close(self) -> None:
        """Write what waits, for as long as somebody reads it."""
        self.flush()
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_LAST_SECONDS)
            self._writer.join(_LAST_SECONDS)

    def _write_all(self) -> None:
        while (text := self._waiting.get()) is not None:
            with contextlib.suppress(OSError):  # nothing reads the log any more
                while text:
                    written: int | None = self._stream.write(text)
                    if written is None:  # another process made the stream non-blocking
                        time.sleep(_RETRY_SECONDS)
                    text = text[written or 0 :]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
