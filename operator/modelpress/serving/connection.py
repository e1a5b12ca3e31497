"""One HTTP/1.1 connection, within limits that no request can state: time, bytes and number of its heads.

uvicorn bounds what is idle between requests; slow, endless or countless heads are bounded here. A connection
that is refused gets one line of JSON and is read (and forgotten) for a moment more: closing at once would
reset it, and its sender might never see the answer. Requests that were complete before are answered first.

Rests on internals of uvicorn's HttpToolsProtocol. Nothing here costs a timer or a task for each request:
`sweep`, called about once a second, looks at all connections.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_EVICTED_SHARE = 16  # one in so many is closed when there are too many, so that it is seldom done
_BODY_HEADERS = (b"content-length", b"transfer-encoding")
_HOST = re.compile(rb"[^\s/?#@,\\]*")  # RFC 3986's host and port, roughly

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be."""

    connections: int = 4096
    head_bytes: int = 16 * 1024  # as Node.js; also of what follows a chunked body
    headers: int = 100  # as Apache
    pipelined: int = 128  # requests that wait for the answer to an earlier one
    head_seconds: float = 20.0  # from connecting, or from the first byte, to the end of the head
    idle_seconds: float = 75.0  # between an answer and the next request, as nginx
    unread_seconds: float = 30.0  # without the peer's reading a byte of what waits for it
    linger_seconds: float = 2.0  # for reading a refusal


class State(Enum):
    """What a connection waits for."""

    FRESH = "its first byte"
    HEAD = "the rest of a head"
    BUSY = "the rest of a body, or an answer"
    IDLE = "the next request"
    REFUSED = "its end"


_BUSY, _IDLE = State.BUSY, State.IDLE  # needed for each request: Python 3.11 takes long to find a member


class Connection(HttpToolsProtocol):
    """A connection that is closed when it breaks a limit.

    A subclass that answers requests itself calls `settle` after each answer and extends `unanswered` and
    `drop_body`.
    """

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.state = State.FRESH
        self.since = self.loop.time()
        self._within = False  # a message whose end the parser has not seen
        self._silent = 0  # bytes since the parser made something of them
        self._fed = 0  # bytes that the parser was given last
        self._begun_with = 0  # such bytes when the newest head began
        self._running: RequestResponseCycle | None = None
        self._deaf = False  # what else comes is thrown away
        self._refusal: tuple[int, str] | None = None  # sent once all earlier requests are answered
        self._unsent = 0
        self._unsent_since = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or say that there are too many."""
        most = self.limits.connections
        full = len(self.connections) >= most and not evict(self.connections, max(1, most // _EVICTED_SHARE))
        super().connection_made(transport)
        if full and len(self.connections) > 2 * most:
            transport.abort()
        elif full:
            self.refuse(503, "too many connections; try again later")

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is at its end."""
        if self._deaf:
            return
        self._fed = len(data)
        self._silent += self._fed
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ignore_upgrade()
        except httptools.HttpParserError as error:
            self.refuse(*_reason(error))
        else:
            if self._silent > self.limits.head_bytes or len(self.headers or ()) > self.limits.headers:
                self.refuse(431, self._too_much())

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request that its caller left: uvicorn tells the newest one, which others may precede."""
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        super().connection_lost(exc)
        for cycle in (self._running, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def shutdown(self) -> None:
        """Close now where no answer is owed, else after the last one. Called by uvicorn's shutdown."""
        if self.unanswered():
            super().shutdown()
        else:
            self.transport.close()

    # callbacks of the parser

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        self.state, self.since, self._silent = State.HEAD, self.loop.time(), 0
        self._within = True
        self._begun_with = self._fed
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the head, then hand the request to the application."""
        self.check_head()
        super().on_headers_complete()
        self.headers = []  # for those that follow a chunked body, which nobody reads

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of a request: what follows begins the next one."""
        self._within = False
        super().on_message_complete()

    def check_head(self) -> None:
        """Refuse a head with too much in it, by an exception in the parser; then an answer is owed."""
        limits = self.limits
        if len(self.headers) > limits.headers:
            raise _Refused(431, self._too_much())
        # a head that came in few bytes has few
        most = self._begun_with + self._silent
        if most > limits.head_bytes and head_bytes(self.url, self.headers) > limits.head_bytes:
            raise _Refused(431, self._too_much())
        if self.parser.should_upgrade() and any(name in _BODY_HEADERS for name, _ in self.headers):
            raise _Refused(400, "upgrades of requests with a body are not supported")  # the parser skips it
        if len(self.pipeline) >= limits.pipelined:
            raise _Refused(429, f"more than {limits.pipelined} requests wait on one connection")
        self._check_host()
        self.state, self._silent = State.BUSY, 0

    def _check_host(self) -> None:
        """Refuse a request of HTTP/1.1 that does not name one host (RFC 9112, section 3.2)."""
        if self.parser.get_http_version() != "1.1":
            return
        hosts = [value.strip(b" \t") for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            shown = ", ".join(repr(value[:80].decode("latin-1")) for value in hosts[:2]) or "none"
            raise _Refused(400, f"the request must have one Host header with a host's name, not {shown}")

    # answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def unanswered(self) -> bool:
        """Whether an answer is owed to a request whose head was complete."""
        running = self._running
        return bool(self.pipeline) or (
            running is not None and not running.response_complete and not running.disconnected
        )

    def on_response_complete(self) -> None:
        """Go on after an answer of the application."""
        self.server_state.total_requests += 1
        self.settle()

    def settle(self) -> None:
        """Start the next request that waits, or wait for one."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._end(*self._refusal)
        elif self._within and self.state is _BUSY:
            self.transport.close()  # answered before its end: the rest of a body must not become a request
        elif self.state is _BUSY:
            self.state, self.since = _IDLE, self.loop.time()

    def refuse(self, status: int, message: str) -> None:
        """Answer what is owed to complete requests, then this, and end the connection."""
        self._deaf = True
        started = self.state is State.BUSY and self.drop_body()
        if self.unanswered():
            self._refusal = (status, message)
        elif started:
            self.transport.close()
        else:
            self._end(status, message)

    def drop_body(self) -> bool:
        """Give up the newest request if its body is incomplete; returns whether its answer has started."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            return False
        if cycle is not self._running:
            self.pipeline.popleft()
        if isinstance(cycle, RequestResponseCycle):
            cycle.waiting_for_100_continue = False  # would be written after the refusal
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle.response_started

    def check(self, now: float) -> None:
        """End the connection where it waited too long; `now` is the loop's time."""
        waited = now - self.since
        if self._peer_stopped_reading(now) or (
            self.state is State.REFUSED and waited > self.limits.linger_seconds
        ):
            self.transport.abort()
        elif self.state is State.HEAD and waited > self.limits.head_seconds:
            self.refuse(
                408, f"the head of the request did not arrive within {self.limits.head_seconds:g} seconds"
            )
        elif (self.state is State.FRESH and waited > self.limits.head_seconds) or (
            self.state is State.IDLE and waited > self.limits.idle_seconds
        ):
            self.transport.close()

    def _peer_stopped_reading(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since > self.limits.unread_seconds

    def _end(self, status: int, message: str) -> None:
        """Send a refusal, and let the sender read it."""
        self._refusal = None
        self.state, self.since = State.REFUSED, self.loop.time()
        body = orjson.dumps({"error": message})
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if status in (429, 503) else []),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _ignore_upgrade(self) -> None:
        """Answer in HTTP/1.1, as RFC 9110 section 7.8 allows, and read nothing of what follows."""
        self._deaf = True
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _too_much(self) -> str:
        limits = self.limits
        return f"the head has more than {limits.headers} headers or {limits.head_bytes} bytes"


class _Refused(Exception):
    """Raised in a callback of the parser, which stops it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def _reason(error: httptools.HttpParserError) -> tuple[int, str]:
    """Return the status and the message of what the parser, or a callback in it, refused.

    A variable of the parser's caller would close a circle through its frame, which only the garbage collector
    ends: each refused connection would stay for a while.
    """
    refused = error.__context__
    if isinstance(refused, _Refused):
        return refused.status, refused.message
    return 400, "the request is not valid HTTP"


def head_bytes(url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the bytes of a head, without its punctuation."""
    return len(url) + sum(len(name) + len(value) for name, value in headers)


def evict(connections: set[Any], count: int) -> int:
    """Close up to `count` connections that owe no answer and waited longest, heads before idle ones.

    They leave the set at once; returns how many.
    """
    waiting = (State.HEAD, State.FRESH, State.IDLE)
    able = [one for one in connections if one.state in waiting and not one.unanswered()]
    able.sort(key=lambda one: (one.state is State.IDLE, one.since))
    for connection in able[:count]:
        connections.discard(connection)
        connection.transport.abort()
    return len(able[:count])


def sweep(connections: Iterable[Any], now: float) -> None:
    """End every connection that waited too long."""
    for connection in list(connections):
        try:
            connection.check(now)
        except Exception:  # limits of the others must hold all the same
            logger.exception("A connection could not be checked: it is cut off.")
            connection.transport.abort()
