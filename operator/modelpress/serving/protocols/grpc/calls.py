"""gRPC calls over HTTP/2: from the head of a request to the trailers of its answer, by callbacks.

An inference costs no task and no future: the batcher answers it as it answers the HTTP fast path. Only a
compressed message takes a task.
"""

import asyncio
import logging
from time import perf_counter

from modelpress.serving.access import Caller, facts
from modelpress.serving.errors import (
    CLIENT_CLOSED_REQUEST,
    DeadlineExceeded,
    Overloaded,
    RequestError,
    TooSlow,
    Unavailable,
    Unimplemented,
    UnsupportedEncoding,
)
from modelpress.serving.exchange import Budget
from modelpress.serving.http.encodings import inflate, request_encoding
from modelpress.serving.protocols.base import Call
from modelpress.serving.protocols.grpc import head
from modelpress.serving.protocols.grpc.codec import NAME
from modelpress.serving.protocols.grpc.headers import block
from modelpress.serving.protocols.grpc.http2 import Stream
from modelpress.serving.protocols.grpc.messages import body_of, check_start, message_of
from modelpress.serving.protocols.grpc.methods import INFER, Page, pages
from modelpress.serving.protocols.grpc.repeats import RepeatingCodec
from modelpress.serving.protocols.grpc.status import HEAD, TRAILERS, Status, code_of, failure, http_failure
from modelpress.serving.protocols.json_tensors import echo
from modelpress.serving.requests import Answer, Request
from modelpress.serving.service import Service

_SLOW_SECONDS = 1.0  # of a message, after which it may be refused for others

logger = logging.getLogger(__name__)


class Exchange:
    """One call."""

    __slots__ = (
        "arrived",
        "begun",
        "body",
        "call",
        "caller",
        "calls",
        "finished",
        "held",
        "page",
        "request",
        "stream",
        "timer",
    )

    def __init__(self, calls: "GrpcCalls", stream: Stream, page: Page | None, begun: float) -> None:
        self.calls = calls
        self.stream = stream
        self.page = page  # None: an inference
        self.begun = begun
        self.arrived = 0.0  # the loop's time, for slow messages
        self.body: bytes | bytearray = b""
        self.held = 0  # bytes of the budget for bodies that arrive
        self.call: Call | None = None
        self.caller: Caller | None = None
        self.request: Request | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.finished = False

    def answer(self, answer: Answer) -> None:
        """Take the outputs, or an error, from the batcher."""
        self.calls.answer(self, answer)

    def late(self) -> None:
        """End the call whose deadline has passed."""
        self.timer = None
        self.calls.refuse(self, DeadlineExceeded("the deadline of the call has passed"))


class GrpcCalls:
    """All calls of a worker."""

    def __init__(self, service: Service, bodies: Budget, most: int) -> None:
        self._service = service
        self._bodies = bodies
        self._most = most
        self._pages = pages(service)
        self._codec: RepeatingCodec | None = None
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._arriving: dict[Exchange, None] = {}  # in the order in which they began
        self.running = 0  # calls without an answer

    # of http2.Calls

    def opened(self, stream: Stream) -> None:
        """Take a call, or say why not."""
        request = stream.request
        if request.status != head.OK:
            stream.connection.respond_head(stream, http_failure(request.status))
            return
        page = self._pages.get(request.path)
        begun = self._service.begin() if request.path == INFER else perf_counter()
        exchange = stream.exchange = Exchange(self, stream, page, begun)
        self.running += 1
        if request.observed or self._service.access_log is not None:
            exchange.caller = self._service.caller(
                "POST", request.path, stream.connection.client, dict(request.fields)
            )
        try:
            self._admit(exchange)
        except RequestError as error:
            self.refuse(exchange, error)

    def data(self, stream: Stream, part: bytes) -> None:
        """Collect the message of a call; answer it when it is complete."""
        exchange: Exchange = stream.exchange
        try:
            if not exchange.body:
                exchange.body = part if stream.complete else bytearray(part)
            else:
                exchange.body += part
            if stream.complete:
                self._complete(exchange)
                return
            exchange.held += len(part)
            if not self._bodies.hold(len(part)):
                raise Overloaded("too many large requests arrive at once; try again later")
            check_start(exchange.body, self._bodies.max_bytes)
        except RequestError as error:
            self.refuse(exchange, error)
        except Exception:
            self._broken(exchange)

    def gone(self, stream: Stream) -> None:
        """Forget a call whose caller left."""
        exchange: Exchange | None = stream.exchange
        if exchange is not None and not exchange.finished:
            self._finish(exchange, CLIENT_CLOSED_REQUEST)

    # the way of a call

    def check(self, now: float) -> None:
        """Refuse messages that take too long; `now` is the loop's time."""
        seconds = self._bodies.timeout_seconds
        while self._arriving:
            exchange = next(iter(self._arriving))
            if now - exchange.arrived <= seconds:
                return
            self.refuse(exchange, TooSlow(f"the message did not arrive within {seconds:g} seconds"))

    def _admit(self, exchange: Exchange) -> None:
        request = exchange.stream.request
        if exchange.page is None and request.path != INFER:
            raise Unimplemented(f"no such method: {echo(request.path)}")
        if request.error is not None:
            raise request.error
        if self.running > self._most:
            self._make_room()
        if request.timeout is not None and request.timeout < self._bodies.timeout_seconds:
            exchange.timer = self._loop.call_later(request.timeout, exchange.late)
        exchange.arrived = self._loop.time()
        self._arriving[exchange] = None

    def _make_room(self) -> None:
        """Refuse the call whose message takes longest, if any takes long. Raises Overloaded else."""
        busy = Overloaded("too many calls at once; try again later")
        oldest = next(iter(self._arriving), None)
        if oldest is None or self._loop.time() - oldest.arrived < _SLOW_SECONDS:
            raise busy
        self.refuse(oldest, busy)

    def _complete(self, exchange: Exchange) -> None:
        """Answer a call whose body has come. Raises RequestError."""
        self._arriving.pop(exchange, None)
        compressed, message = message_of(exchange.body, self._bodies.max_bytes)
        if compressed:
            encoding = self._encoding(exchange)
            task = self._loop.create_task(self._inflated(exchange, message, encoding))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        self._release(exchange)
        self._compute(exchange, message)

    @staticmethod
    def _encoding(exchange: Exchange) -> str:
        name = exchange.stream.request.encoding
        encoding = request_encoding(name)
        if encoding is None:
            raise UnsupportedEncoding("the message is compressed, but grpc-encoding does not say how")
        return encoding

    async def _inflated(self, exchange: Exchange, message: memoryview, encoding: str) -> None:
        try:
            plain = await asyncio.to_thread(inflate, bytes(message), encoding, self._bodies.max_bytes)
            self._release(exchange)
            if not exchange.finished:
                self._compute(exchange, memoryview(plain))
        except RequestError as error:
            self.refuse(exchange, error)
        except Exception:
            self._broken(exchange)

    def _compute(self, exchange: Exchange, message: memoryview) -> None:
        """Answer, or queue the call for the model. Raises RequestError."""
        if exchange.page is not None:
            self._succeed(exchange, exchange.page(message))
            return
        codec = self._codec or self._protocol()
        call = exchange.call = codec.decode(message)
        exchange.body = b""
        if exchange.caller is not None:
            exchange.caller.identify(call.id)
        batcher = self._service.batcher
        assert batcher is not None  # there is one since there is a model
        inputs, call.inputs = call.inputs, []  # freed with the batch, not with the exchange
        exchange.request = batcher.submit(inputs, exchange.answer)

    def _protocol(self) -> RepeatingCodec:
        model = self._service.model
        if model is None:
            raise Unavailable("the model is being loaded")
        self._codec = RepeatingCodec(model)
        return self._codec

    # answers

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Send the answer to an inference, unless the caller left."""
        if exchange.finished:
            return
        try:
            if isinstance(answer, Exception):
                raise answer
            assert self._codec is not None
            assert exchange.call is not None
            self._succeed(exchange, self._codec.encode(exchange.call, answer))
        except RequestError as error:
            self.refuse(exchange, error)
        except Exception:
            self._broken(exchange)

    def _succeed(self, exchange: Exchange, message: bytes) -> None:
        caller, stream = exchange.caller, exchange.stream
        opening = HEAD
        if caller is not None:
            caller.sent = len(message)
            opening += block(caller.headers())
        self._finish(exchange, 200)
        stream.connection.respond(stream, opening, body_of(message), TRAILERS)

    def refuse(self, exchange: Exchange, error: RequestError) -> None:
        """Say why a call is not answered."""
        self._fail(exchange, error.status, code_of(error), error.message)

    def _broken(self, exchange: Exchange) -> None:
        """Say that the fault is ours."""
        logger.exception("A request failed.", extra=facts(exchange.caller))
        self._fail(exchange, 500, Status.INTERNAL, "internal error")

    def _fail(self, exchange: Exchange, status: int, code: Status, message: str) -> None:
        if exchange.finished:
            return
        caller, stream = exchange.caller, exchange.stream
        self._finish(exchange, status)
        stream.connection.respond_head(stream, failure(code, message, caller.headers() if caller else []))

    def _finish(self, exchange: Exchange, status: int) -> None:
        """Count a call that is over, and free what it held."""
        exchange.finished = True
        self.running -= 1
        self._arriving.pop(exchange, None)
        self._release(exchange)
        exchange.body = b""
        if exchange.timer is not None:
            exchange.timer.cancel()
            exchange.timer = None
        service = self._service
        if exchange.request is not None:
            assert service.batcher is not None
            service.batcher.abandon(exchange.request)
            exchange.request = None  # which refers to the exchange
        if exchange.stream.request.path == INFER:
            service.end(NAME, status, exchange.begun, exchange.caller)
        elif exchange.caller is not None:
            service.log(exchange.caller, None, status, exchange.begun)

    def _release(self, exchange: Exchange) -> None:
        if exchange.held:
            self._bodies.release(exchange.held)
            exchange.held = 0
