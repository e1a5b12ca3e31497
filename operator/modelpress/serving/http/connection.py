"""One HTTP/1.1 connection: from bytes to requests, and their answers in order.

There is one way for all requests. The parser's callbacks make them; each is answered when it is complete and
those before it are answered, without a task or a future. What is wrong with one becomes its answer. An error
before the end of a body is sent at once, and what else comes is read and forgotten for a moment: closing at
once would reset the connection, and its sender might never see why. Limits that no request can state (time,
bytes and number of heads) are looked at by `check`, about once a second for all connections.
"""

import asyncio
import logging
from asyncio import Future
from collections import deque
from functools import partial
from typing import Any

from modelpress.serving.errors import (
    CLIENT_CLOSED_REQUEST,
    InternalError,
    Overloaded,
    RequestError,
    TooSlow,
    Unavailable,
)
from modelpress.serving.exchange import Budget
from modelpress.serving.http.bodies import ArrivingBody
from modelpress.serving.http.connections import Connections, State
from modelpress.serving.http.encodings import MIN_COMPRESSED_BYTES, answer_encoding
from modelpress.serving.http.parser import Head, Headers, Parser
from modelpress.serving.http.request import HttpRequest
from modelpress.serving.http.responses import CONTINUE, Response, failure, success
from modelpress.serving.http.routes import Routes
from modelpress.serving.protocols.base import Encoded
from modelpress.serving.service import Phase, Service

_DEFLATE_IN_LOOP_BYTES = 32768  # more is compressed on a thread
_JOINED_BYTES = 16384  # a copy of fewer costs less than a second buffer
_HEAD, _BUSY, _IDLE = State.HEAD, State.BUSY, State.IDLE  # Python 3.11 takes long to find a member
_DRAINING = Phase.DRAINING

logger = logging.getLogger(__name__)


class Connection(asyncio.BufferedProtocol):
    """A connection that is closed when it breaks a limit."""

    transport: Any

    def __init__(self, connections: Connections, routes: Routes, service: Service, budget: Budget) -> None:
        self._connections = connections
        self._limits = connections.limits
        self._routes = routes
        self._service = service
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._parser = Parser(self, self._limits, connections.is_local)
        self._address: str | None = None
        self.state = State.FRESH
        self.since = self._loop.time()
        self._expiry = connections.expiry(self.since)
        self._is_old = False
        self._requests: deque[HttpRequest] = deque()  # those not answered yet, in the order of arrival
        self._newest: HttpRequest | None = None  # the one whose body is still arriving
        self._buffered: ArrivingBody | None = None  # the transport receives into it directly
        self._advancing = False
        self._discarding = False  # whether further bytes are read and forgotten
        self._half_closed = False  # the peer sends nothing more
        self._reading_paused = self._writing_paused = False
        self._unsent = 0
        self._unsent_since = 0.0

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if peer else None
        if not self._connections.add(self):
            return
        if len(self._connections.open) > 2 * self._limits.connections:
            self.transport.abort()
        else:
            self._refuse(Unavailable("too many connections; try again later"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self._connections.received if self._buffered is None else self._buffered.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that came, unless the connection is at its end."""
        if self._buffered is not None:
            self._grow(self._buffered, nbytes)
        elif not self._discarding:
            self._parse(self._connections.received[:nbytes])

    def eof_received(self) -> bool:
        """Go on where answers are owed: who sends no more may wait for them; `check` finds out."""
        self._half_closed, self.since = True, self._loop.time()
        if self._newest is not None:
            self._drop(self._newest)
        return bool(self._requests) and not self._discarding

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is owed."""
        self._connections.open.discard(self)
        self._connections.forget_reader(self)
        self._parser.close()
        self._discarding = True
        self._newest = self._buffered = None
        while self._requests:
            self._requests.popleft().end(CLIENT_CLOSED_REQUEST)

    def pause_writing(self) -> None:
        """Answer nothing more before the peer has read."""
        self._writing_paused = True
        self._connections.wait_for_reader(self, self.transport.get_write_buffer_size())
        self._pace()

    def resume_writing(self) -> None:
        """Go on."""
        self._writing_paused = False
        self._connections.forget_reader(self)
        self._advance()
        self._pace()

    def shutdown(self) -> None:
        """Close now where no answer is owed; else the last one says so."""
        if not self._requests and self.state is not State.LINGERING:
            self.transport.close()

    # events of the parser

    def head_begun(self) -> None:
        """Note the first byte of a request."""
        self.state, self.since = _HEAD, self._loop.time()

    def head_ended(self, head: Head, headers: Headers) -> None:
        """Begin a request. Raises Overloaded."""
        if len(self._requests) > self._limits.pipelined:
            raise Overloaded(f"more than {self._limits.pipelined} requests wait on one connection")
        self.state = _BUSY
        request = self._newest = HttpRequest(self._service, self._budget, self._address)
        self._requests.append(request)
        request.take_head(head, headers, self._routes, partial(self._reply, request))

    def body_came(self, part: bytes) -> None:
        """Take a part of a body."""
        request = self._newest
        if request is not None and request.error is None:
            try:
                request.body.add(part)
            except RequestError as error:
                request.fail(error)

    def message_ended(self) -> None:
        """Answer a whole request: what follows begins the next one."""
        request, self._newest = self._newest, None
        if request is None:
            return
        request.complete = True
        if not request.keep_alive:
            self._discarding = True
        self._advance()

    # what comes

    def _parse(self, data: memoryview) -> None:
        """Let the parser make requests of what came."""
        try:
            self._parser.feed(data)
        except RequestError as error:
            self._refuse(error)
            return
        if self._newest is not None:
            self._await_rest(self._newest)
        if len(self._requests) > 1:
            self._pace()

    def _await_rest(self, request: HttpRequest) -> None:
        """Count what has come of a body, and see how the rest shall come."""
        self._hold(request)
        if request.error is None and request.body.buffer(request.length, request.json_length or 0):
            self._buffered = request.body
        self._advance()

    def _grow(self, body: ArrivingBody, count: int) -> None:
        """Note that more of a large body has come."""
        if not body.grow(count):
            assert self._newest is not None
            self._hold(self._newest)
            self._advance()
            return
        self._buffered = None
        self._parser.skip_body()
        self.message_ended()

    def _hold(self, request: HttpRequest) -> None:
        """Count what has come of a body, or give up its request."""
        try:
            request.body.hold()
        except RequestError as error:
            request.fail(error)
        if request.error is not None:
            self._give_up()

    def _give_up(self) -> None:
        """Read no more of a request that was refused before its end: what follows is none."""
        self._discarding = True
        self._newest = self._buffered = None

    def _refuse(self, error: RequestError) -> None:
        """Answer what is owed to earlier requests, then this, and end the connection."""
        if self._discarding:
            return
        request = self._newest
        if request is None:
            request = HttpRequest(self._service, self._budget, self._address)
            self._requests.append(request)
            request.take_broken_head(*self._parser.broken_head())
        request.fail(error)
        self._give_up()
        self._advance()

    def _drop(self, request: HttpRequest) -> None:
        """Forget a request of which the rest will not come."""
        self._give_up()
        self._requests.remove(request)
        request.end(CLIENT_CLOSED_REQUEST)

    def _pace(self) -> None:
        """Read no further requests while some wait, or while answers do."""
        pause = len(self._requests) > 1 or self._writing_paused
        if pause == self._reading_paused or self.transport.is_closing():
            return
        self._reading_paused = pause
        if pause:
            self.transport.pause_reading()
        else:
            self.since = self._loop.time()  # nothing could come before
            self.transport.resume_reading()

    # answers

    @property
    def unanswered(self) -> bool:
        """Whether an answer is owed."""
        return bool(self._requests)

    def _advance(self) -> None:
        """Begin what is first in line, and go on for as long as that is answered at once."""
        if self._advancing:
            return
        self._advancing = True
        while self._requests and not self._writing_paused and not self.transport.is_closing():
            request = self._requests[0]
            if request.started:
                break
            if not request.complete and request.error is None:
                if request.expects_continue and request.takes_interim:
                    request.expects_continue = False
                    self.transport.write(CONTINUE)
                break
            response = request.start()
            if response is not None:
                self._respond(request, response)
        self._advancing = False

    def _reply(self, request: HttpRequest, answer: Encoded | RequestError) -> None:
        """Send what an inference request came to."""
        self._respond(request, failure(answer) if isinstance(answer, RequestError) else success(answer))

    def _respond(self, request: HttpRequest, response: Response) -> None:
        """Send an answer, compressed where its caller wants that and it is worth it."""
        if not request.accept_encoding or len(response.body) < MIN_COMPRESSED_BYTES:
            self._send(request, response)
            return
        encoding = answer_encoding(request.accept_encoding.decode("latin-1"))
        if encoding is None:
            self._send(request, response)
        elif len(response.body) <= _DEFLATE_IN_LOOP_BYTES:
            self._send(request, response.compressed(encoding))
        else:
            compressing = self._loop.run_in_executor(None, response.compressed, encoding)
            compressing.add_done_callback(partial(self._send_compressed, request))

    def _send_compressed(self, request: HttpRequest, done: "Future[Response]") -> None:
        try:
            response = done.result()
        except Exception:
            logger.exception("An answer could not be compressed.")
            response = failure(InternalError("internal error"))
        self._send(request, response)

    def _send(self, request: HttpRequest, response: Response) -> None:
        """Send an answer, unless the caller left, and go on with what waits behind it."""
        if request.ended:
            return
        connections = self._connections
        close = (
            not (request.keep_alive and request.complete)
            or self._is_old  # callers should come back on another connection, perhaps to another worker
            or self._service.phase is _DRAINING
            or connections.ending
        )
        body = b"" if request.is_head else response.body
        client = request.client
        if client is not None:
            client.sent = len(body)
            response.headers = [*response.headers, *client.headers()]
        head = response.head(connections.date, close)
        if len(body) < _JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines([head, body])
        self._requests.popleft()
        request.end(response.status)
        if close:
            self._leave(request)
            return
        if not self._requests:
            self._rest()
        else:
            self._advance()
        if self._reading_paused:
            self._pace()

    def _leave(self, request: HttpRequest) -> None:
        """End the connection after its last answer; who has not sent all may read that first."""
        self._discarding = True
        if request.complete or self._half_closed:
            self.transport.close()
            return
        self.state, self.since = State.LINGERING, self._loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _rest(self) -> None:
        """Wait for the next request, if one can come."""
        if self._half_closed:
            self.transport.close()
        elif self.state is _BUSY:
            self.state, self.since = _IDLE, self._loop.time()

    # limits of time

    def check(self, now: float) -> None:
        """End the connection where it waited too long; `now` is the loop's time."""
        limits, waited = self._limits, now - self.since
        self._is_old = now > self._expiry
        if self._peer_stopped_reading(now) or (
            self.state is State.LINGERING and waited > limits.linger_seconds
        ):
            self.transport.abort()
        elif self.state is _HEAD and waited > limits.head_seconds:
            self._refuse(
                TooSlow(f"the head of the request did not arrive within {limits.head_seconds:g} seconds")
            )
        elif self._half_closed:
            self._probe(waited)
        elif self._newest is not None and self._is_late(waited):
            self._refuse(TooSlow(f"the body did not arrive within {self._budget.timeout_seconds:g} seconds"))
        elif (self.state is State.FRESH and waited > limits.head_seconds) or (
            self.state is _IDLE and waited > limits.idle_seconds
        ):
            self.transport.close()

    def _probe(self, waited: float) -> None:
        """Find out whether a peer that sends no more has left: its system says so when anything comes.

        An answer of 100 may always come before the others (RFC 9110, section 15.2).
        """
        if waited > self._limits.half_closed_seconds and self._requests and self._requests[0].takes_interim:
            self.transport.write(CONTINUE)

    def _is_late(self, waited: float) -> bool:
        return waited > self._budget.timeout_seconds and not self._reading_paused

    def _peer_stopped_reading(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since > self._limits.unread_seconds
