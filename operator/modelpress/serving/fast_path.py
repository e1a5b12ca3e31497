"""Answers plain inference requests from the HTTP parser's callbacks: no task, no future, no ASGI message.

What is taken: a POST of HTTP/1.1 to a path of an inference protocol, with a Content-Length within
maxRequestBytes, on a connection that owes no other answer. Everything else stays with the ASGI application
behind: chunked and compressed bodies, Expect, upgrades, `connection: close`, requests that are pipelined,
readers that fell behind, all while the worker loads or drains. A body that turns out to be slow, or that does
not fit the budget for all bodies that arrive, is handed to the application with what came of it: so deadlines
and refusals of bodies exist once. Answers are the same bytes either way.

Clients repeat their heads. One that was taken before, to the byte, is looked up, not parsed again, where its
body comes in one piece with it, or is large: then a LargeBody receives it.

To uvicorn an Exchange looks like its RequestResponseCycle: it queues pipelined requests behind it, says when
the caller has left, and ends the connection after it in a shutdown. The order of pipelined answers follows.
Rests on internals of uvicorn's HttpToolsProtocol, as `connection` does.
"""

import asyncio
import logging
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from modelpress.serving.access import OBSERVED, Caller, facts
from modelpress.serving.connection import Connection, State
from modelpress.serving.errors import CLIENT_CLOSED_REQUEST, RequestError
from modelpress.serving.heads import Head, Heads
from modelpress.serving.large_body import LARGE_BYTES, LARGEST_BYTES, LargeBody
from modelpress.serving.protocols.app import App, failure, internal_error, success
from modelpress.serving.protocols.base import Call
from modelpress.serving.protocols.encodings import MIN_COMPRESSED_BYTES
from modelpress.serving.protocols.http import BEGUN, JSON_LENGTH, Response, encoded
from modelpress.serving.requests import Answer, Request
from modelpress.serving.service import Phase

# A body that takes longer is not what this path is for; the connection looks once a second.
_SLOW_BODY_SECONDS = 1.0
# Headers with which the application answers.
_DECLINED = frozenset([b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"])
_MAX_DIGITS = 18  # of a length
_JOINED_BYTES = 16384  # a copy of fewer costs less than a second buffer
# Python 3.11 takes as long to find a member of an enumeration as for a call.
_BETWEEN_REQUESTS = (State.IDLE, State.FRESH)
_BUSY, _READY, _DRAINING = State.BUSY, Phase.READY, Phase.DRAINING

logger = logging.getLogger(__name__)


class Exchange:
    """One request and its answer; has the attributes of uvicorn's RequestResponseCycle that others use."""

    # those that few requests change
    held = 0  # bytes of the budget for bodies that arrive in parts
    call: Call | None = None
    caller: Caller | None = None
    large: LargeBody | None = None  # receives the body
    request: Request | None = None
    more_body = True
    keep_alive = True
    response_started = False
    response_complete = False
    disconnected = False

    def __init__(self, connection: "FastConnection", head: Head) -> None:
        self.connection = connection
        self.head = head
        self.begun = connection.service.begin()
        self.body: list[bytes] = []
        self.size = 0  # bytes of it

    @property
    def message_event(self) -> "Exchange":
        """Itself: uvicorn sets the event of a cycle after it has said that the caller left."""
        return self

    def set(self) -> None:
        """Notice that the caller left."""
        if self.disconnected and not self.response_complete:
            self.connection.gone(self)


class FastConnection(Connection):
    """A connection that answers plain inference requests itself."""

    def __init__(self, app: App, heads: Heads, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._app = app
        self._heads = heads
        self.service = app.service
        self._receiving: Exchange | None = None  # whose body the parser reads
        self._newest: Exchange | None = None  # that the parser made
        self._handed: float | None = None  # when a request began that is parsed for the application now
        self._dated: Any = None  # uvicorn's headers with the date of this second
        self._ok = b""  # and a head that begins with them

    # callbacks of the parser

    def on_headers_complete(self) -> None:
        """Take the request, or leave it to the application."""
        self.check_head()
        exchange = self._accept()
        if exchange is None:
            self.scope["state"][BEGUN] = self._handed
            super().on_headers_complete()
            return
        self.cycle = self._running = exchange  # type: ignore[assignment]
        self._receiving = self._newest = exchange

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        exchange = self._receiving
        if exchange is None:
            super().on_body(body)
            return
        self._silent = 0
        exchange.body.append(body)
        exchange.size += len(body)

    def on_message_complete(self) -> None:
        """Take the whole request."""
        exchange = self._receiving
        if exchange is None:
            super().on_message_complete()
            return
        self._within = False
        self._receiving = None
        self._release(exchange)
        parts = exchange.body
        exchange.body = []
        self._queue(exchange, parts[0] if len(parts) == 1 else b"".join(parts))

    # the connection

    def data_received(self, data: bytes) -> None:
        """Parse what came; count what is held of a body that did not come as a whole."""
        fresh = self.state in _BETWEEN_REQUESTS
        if fresh and self._takes() and self._take_known(data):
            return
        self._newest = None
        super().data_received(data)
        newest = self._newest
        if fresh and newest is not None and newest is self.cycle and self.state is not State.HEAD:
            self._heads.keep(data, newest.size, newest.head)
        self._hold(self._receiving)

    def check(self, now: float) -> None:
        """End the connection where it waited too long; leave a slow body to the application."""
        super().check(now)
        exchange = self._receiving
        if exchange is not None and now - self.since > _SLOW_BODY_SECONDS and not self.transport.is_closing():
            self._hand_over(exchange)

    def gone(self, exchange: Exchange) -> None:
        """Forget a request whose caller left."""
        exchange.response_complete = True
        exchange.body = []
        exchange.large = None
        self._release(exchange)
        if self._receiving is exchange:
            self._receiving = None
        if exchange.request is not None:
            assert self.service.batcher is not None
            self.service.batcher.abandon(exchange.request)
            exchange.request = None  # which refers to the exchange
        self.service.end(exchange.head.protocol.name, CLIENT_CLOSED_REQUEST, exchange.begun, exchange.caller)

    # bodies

    def _take_known(self, data: bytes) -> bool:
        """Take a request whose head is known, if its body has come or is to be received as a large one."""
        found = self._heads.find(data)
        if found is None:
            return False
        head, start = found
        come = len(data) - start
        large = LARGE_BYTES + come <= head.length <= LARGEST_BYTES
        if come != head.length and not large:
            return False
        self.state, self.since = _BUSY, self.loop.time()
        exchange = self.cycle = self._running = Exchange(self, head)  # type: ignore[assignment]
        if come == head.length:
            self._queue(exchange, data[start:])
        else:
            self._receiving = exchange
            exchange.body = [data[:start]]  # for the parser, if it has to take over
            exchange.large = LargeBody(
                self, head.length, head.json_length or 0, partial(self._grown, exchange)
            )
            exchange.large.take(self.transport, memoryview(data)[start:])
            self._grown(exchange)
        return True

    def _grown(self, exchange: Exchange) -> None:
        """Go on when more of a large body has come."""
        large = exchange.large
        if large is None:  # its caller left
            return
        exchange.size = large.size
        if not large.complete:
            self._hold(exchange)
            return
        self._receiving = exchange.large = None
        self._release(exchange)
        body = large.give_back(self.transport)
        # JSON is parsed from bytes
        self._queue(exchange, bytes(body) if exchange.head.json_length is None else body)

    def _hold(self, exchange: Exchange | None) -> None:
        """Count what is held of a body that did not come as a whole."""
        if exchange is None or exchange.size == exchange.held:
            return
        grown = exchange.size - exchange.held
        exchange.held = exchange.size
        if not self._app.bodies.hold(grown):
            self._hand_over(exchange)

    # answers

    def _queue(self, exchange: Exchange, body: bytes | memoryview) -> None:
        """Queue the request for the model."""
        exchange.more_body = False
        batcher = self.service.batcher
        assert batcher is not None  # routes of protocols exist only with it
        head = exchange.head
        try:
            call = exchange.call = head.protocol.decode(body, head.json_length)
            if exchange.caller is not None:
                exchange.caller.identify(call.id)
            inputs, call.inputs = call.inputs, []  # freed with the batch, not with the exchange
            exchange.request = batcher.submit(inputs, partial(self.answer, exchange))
        except RequestError as error:
            self._send(exchange, failure(error))
        except Exception:
            logger.exception("A request failed.", extra=facts(exchange.caller))
            self._send(exchange, internal_error())

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Send the answer to a request, unless the caller left."""
        if exchange.response_complete:
            return
        exchange.request = None  # which refers to the exchange: nothing is left for the garbage collector
        assert exchange.call is not None
        try:
            if isinstance(answer, Exception):
                raise answer
            response = success(exchange.head.protocol.encode(exchange.call, answer))
        except RequestError as error:
            response = failure(error)
        except Exception:
            logger.exception("A request failed.", extra=facts(exchange.caller))
            response = internal_error()
        if exchange.head.accept_encoding and len(response.body) >= MIN_COMPRESSED_BYTES:
            task = self.loop.create_task(self._send_encoded(exchange, response))
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)
        else:
            self._send(exchange, response)

    async def _send_encoded(self, exchange: Exchange, response: Response) -> None:
        """Send a long answer to a caller who may want it compressed."""
        scope = {"headers": [(b"accept-encoding", exchange.head.accept_encoding)]}
        response = await encoded(scope, response)
        if not exchange.response_complete:
            self._send(exchange, response)

    def _send(self, exchange: Exchange, response: Response) -> None:
        """Send an answer, and go on with what waits behind it."""
        close = not exchange.keep_alive or self.service.phase is _DRAINING
        caller = exchange.caller
        if caller is not None:
            caller.sent = len(response.body)
            response.headers = [*response.headers, *caller.headers()]
        head, body = self._head(response, close), response.body
        if len(body) < _JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines([head, body])
        exchange.response_complete = True
        self.service.end(exchange.head.protocol.name, response.status, exchange.begun, caller)
        if close:
            self.transport.close()
        self.on_response_complete()

    def _head(self, response: Response, close: bool) -> bytes:
        dated = self.server_state.default_headers
        if dated is not self._dated:  # once a second
            self._dated, self._ok = dated, STATUS_LINE[200] + _lines(dated)
        start = self._ok if response.status == 200 else STATUS_LINE[response.status] + _lines(dated)
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n" % (
            start,
            response.content_type,
            len(response.body),
        )
        if response.headers:
            head += _lines(response.headers)
        return head + (b"connection: close\r\n\r\n" if close else b"\r\n")

    # decisions

    def _takes(self) -> bool:
        """Whether a request may be taken now."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and self.service.phase is _READY
            and not self.flow.write_paused
            and not self._deaf
            and self._handed is None
        )

    def _accept(self) -> Exchange | None:
        """Return the exchange for a request whose head is complete, None where the application answers."""
        app = self._app
        protocol = app.calls.get(self.url.decode("latin-1"))
        if (
            protocol is None
            or not self._takes()
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
        ):
            return None
        length, json_length, accept_encoding = -1, None, b""
        observed = self.service.access_log is not None
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value)
            elif name == JSON_LENGTH:
                if json_length is not None or not value.isdigit() or len(value) > _MAX_DIGITS:
                    return None
                json_length = int(value)
            elif name == b"accept-encoding":
                accept_encoding = accept_encoding or value
            elif name in OBSERVED:
                observed = True
            elif name in _DECLINED or (name == b"connection" and value.lower() != b"keep-alive"):
                return None
        if not 0 <= length <= app.bodies.max_bytes:
            return None
        exchange = Exchange(self, Head(protocol, length, json_length, accept_encoding, observed))
        if observed:
            client = self.client[0] if self.client else None
            exchange.caller = self.service.caller("POST", self.url.decode("latin-1"), client, self.headers)
        return exchange

    def _hand_over(self, exchange: Exchange) -> None:
        """Let the application read the rest of a body, and answer."""
        self._release(exchange)
        self.service.withdraw()
        exchange.response_complete = True
        self._receiving = None
        large = exchange.large
        if large is None:
            self.scope["state"][BEGUN] = exchange.begun
            HttpToolsProtocol.on_headers_complete(self)  # the head was checked when it came
            super().on_body(b"".join(exchange.body))
            return
        exchange.large = None
        self._handed = exchange.begun
        super().data_received(b"".join([*exchange.body, large.give_back(self.transport)]))
        self._handed = None

    def _release(self, exchange: Exchange) -> None:
        if exchange.held:
            self._app.bodies.release(exchange.held)
            exchange.held = 0


def _lines(headers: Any) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def fast_connections(app: App) -> Any:
    """Return what uvicorn makes its connections with."""

    heads = Heads()

    def make(*args: Any, **settings: Any) -> asyncio.Protocol:
        return FastConnection(app, heads, *args, **settings)

    return make
