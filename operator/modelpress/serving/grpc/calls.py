"""From calls on grpcio's threads to the event loop and back: every call is counted, whatever becomes of it.

A call is read as a stream of one message, so that it is known while its message has not come: a thread waits
for that, and calls whose message does not come are ended. An inference is decoded on its thread, and answered
by the loop.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import grpc

from modelpress.serving.errors import (
    CLIENT_CLOSED_REQUEST,
    DeadlineExceeded,
    InternalError,
    RequestError,
    TooSlow,
    Unavailable,
    Unimplemented,
)
from modelpress.serving.exchange import RequestContext
from modelpress.serving.grpc.status import MAX_DETAILS, code_of
from modelpress.serving.observability.access_log import ClientInfo, facts
from modelpress.serving.protocols.base import DecodedRequest, Encoded, InferenceProtocol
from modelpress.serving.protocols.json_tensors import echo
from modelpress.serving.service import Service

NAME = "grpc"  # what metrics call all but inferences
# Threads: so many calls of a kind are read, decoded or computed at a time, and more wait. Inferences have as
# many as rows share a batch, within these bounds: many threads that take turns cost more than few.
_FEWEST_INFERENCES, _MOST_INFERENCES = 16, 64
_PAGES = 8  # health answers while inferences take all of theirs
_STREAMS = 4
_SLOW_SECONDS = 0.5  # a message may take longer only where no other call needs its thread

Context = Any  # grpc.ServicerContext
Requests = Iterator[bytes]
T = TypeVar("T")
Handler = Callable[[bytes], bytes]  # from a serialized request to a serialized answer; raises RequestError

logger = logging.getLogger(__name__)


class Threads(ThreadPoolExecutor):
    """Threads for one kind of calls. Half of them may wait for a message for longer than half a second."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, name)
        self._most_slow = size // 2
        self.arriving: dict[Context, float] = {}  # calls whose message is waited for, and since when

    def late(self, now: float, seconds: float) -> list[Context]:
        """Return the calls whose message takes longer than `seconds`, or longer than others can wait."""
        arriving = list(self.arriving.items())
        crowd = arriving[: max(0, len(arriving) - self._most_slow)]  # the oldest come first
        crowded = [context for context, since in crowd if now - since > _SLOW_SECONDS]
        return crowded + [context for context, since in arriving[len(crowded) :] if now - since > seconds]


@dataclass(slots=True)
class _CallRecord:
    """A call as it is counted and logged."""

    context: Context
    caller: ClientInfo | None  # None where nobody wants to know
    begun: float  # as time.perf_counter() gives it
    name: str = NAME  # in metrics


class _Pending:
    """An inference between its thread, which waits, and the loop."""

    __slots__ = ("_call", "_decoded", "_done", "_protocol", "_request", "answer")

    def __init__(self, protocol: InferenceProtocol, call: _CallRecord, decoded: DecodedRequest) -> None:
        self._protocol = protocol
        self._call = call
        self._decoded = decoded
        self._request: RequestContext | None = None
        self._done = threading.Lock()
        self._done.acquire()
        self.answer: Encoded | RequestError | None = None  # None: the caller has left

    def wait(self) -> Encoded | RequestError | None:
        """Return the answer, on the thread of the call."""
        self._done.acquire()
        return self.answer

    def submit(self, service: Service) -> None:
        """Queue the request. In the loop."""
        call = self._call
        self._request = RequestContext(service, self._protocol, call.caller, self._reply, call.begun)
        self._request.submit(self._decoded)

    def leave(self, status: int) -> None:
        """Forget the request of a caller that has left. In the loop."""
        if self.answer is None and self._request is not None:
            self._end(status)

    def _reply(self, answer: Encoded | RequestError) -> None:
        self.answer = answer
        if isinstance(answer, RequestError):
            self._end(answer.status)
            return
        if self._call.caller is not None:
            self._call.caller.sent = sum(map(len, answer.parts))
        self._end(200)

    def _end(self, status: int) -> None:
        assert self._request is not None
        if not self._request.ended:
            self._request.end(status)
            self._done.release()


class Calls:
    """All calls of a worker."""

    def __init__(self, service: Service, timeout_seconds: float, max_batch_size: int) -> None:
        """Count calls of `service`; messages that take longer than `timeout_seconds` are not waited for."""
        self._service = service
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self.ending = False  # calls are refused
        threads = min(max(max_batch_size, _FEWEST_INFERENCES), _MOST_INFERENCES)
        self.inferences = Threads(threads, "grpc")
        self.pages = Threads(_PAGES, "grpc-pages")
        self.streams = Threads(_STREAMS, "grpc-streams")
        self._kinds = (self.inferences, self.pages, self.streams)
        self._late: set[Context] = set()
        self._open: set[Context] = set()  # that stream answers

    def infer(self, path: str, protocol: Callable[[], InferenceProtocol]) -> grpc.RpcMethodHandler:
        """Return the handler of an inference; `protocol` raises Unavailable where there is no model yet."""
        return grpc.stream_unary_rpc_method_handler(partial(self._infer, path, protocol))

    def page(self, path: str, page: Handler) -> grpc.RpcMethodHandler:
        """Return the handler of a method that needs no model's computation."""
        return self._handler(partial(self._page, path, page))

    def unknown(self, path: str) -> grpc.RpcMethodHandler:
        """Return the handler of a method that does not exist."""

        def refuse(_: Requests, context: Context) -> bytes:
            self._refuse(self._begin(path, context), Unimplemented(f"no such method: {echo(path)}"))

        return self._handler(refuse)

    def _handler(self, behaviour: Any) -> grpc.RpcMethodHandler:
        behaviour.experimental_thread_pool = self.pages
        return grpc.stream_unary_rpc_method_handler(behaviour)

    def check(self, now: float) -> None:
        """End calls whose message takes too long; `now` is time.monotonic(). In the loop."""
        for threads in self._kinds:
            for context in threads.late(now, self._timeout_seconds):
                self._late.add(context)
                context.cancel()

    def end_unanswerable(self) -> None:
        """End the calls that would not end by themselves: streams, and those whose message is waited for."""
        for threads in self._kinds:
            for context in threads.late(math.inf, 0):
                context.cancel()
        for context in list(self._open):
            context.cancel()

    def close(self) -> None:
        """Let the threads end."""
        for threads in self._kinds:
            threads.shutdown(wait=False)

    def message(self, requests: Requests, context: Context, threads: Threads) -> bytes | None:
        """Return a call's next message, None at its end. Raises TooSlow, or grpc.RpcError if cancelled."""
        threads.arriving[context] = time.monotonic()
        try:
            message = next(requests, None)
        except grpc.RpcError:
            if context not in self._late:
                raise
            message = None
        finally:
            del threads.arriving[context]
        if context in self._late:
            self._late.discard(context)
            raise TooSlow("the message did not arrive in time")
        return message

    def opened(self, path: str, context: Context) -> None:
        """Note a call that streams answers; it is counted when it ends."""
        call = self._begin(path, context)

        def over() -> None:
            self._open.discard(context)
            self._count(call, 200 if context.code() is None else 400)

        self._open.add(context)
        if not context.add_callback(over):
            over()

    def _infer(
        self, path: str, protocol: Callable[[], InferenceProtocol], requests: Requests, context: Context
    ) -> bytes:
        call = self._begin(path, context)
        codec = self._attempt(call, protocol)
        call.name = codec.name
        decoded = self._attempt(call, lambda: codec.decode(self._only(requests, context, self.inferences)))
        pending = _Pending(codec, call, decoded)
        del decoded
        self._later(pending.submit, self._service)
        if not context.add_callback(lambda: self._left(pending, context)):
            self._left(pending, context)
        answer = pending.wait()
        _trace(call)
        if isinstance(answer, RequestError):
            abort(answer, context)
        return b"" if answer is None else b"".join(answer.parts)  # nobody hears the empty one

    def _only(self, requests: Requests, context: Context, threads: Threads) -> bytes:
        """Return a unary call's message. Raises Unimplemented where there is none, Unavailable at the end."""
        message = self.message(requests, context, threads)
        if message is None:
            raise Unimplemented("the call has no message")
        if self.ending:
            raise Unavailable("this worker ends; ask another one")
        return message

    def _left(self, pending: _Pending, context: Context) -> None:
        """Take the end of a call: where it has no answer, its caller left, or its deadline passed."""
        if pending.answer is None:
            left = context.time_remaining()
            late = left is not None and left <= 0
            self._later(pending.leave, DeadlineExceeded.status if late else CLIENT_CLOSED_REQUEST)

    def _page(self, path: str, page: Handler, requests: Requests, context: Context) -> bytes:
        call = self._begin(path, context)
        answer = self._attempt(call, lambda: page(self._only(requests, context, self.pages)))
        if call.caller is not None:
            call.caller.sent = len(answer)
        self._count(call, 200)
        _trace(call)
        return answer

    def _begin(self, path: str, context: Context) -> _CallRecord:
        begun = time.perf_counter()
        return _CallRecord(context, self._caller(path, context), begun)

    def _attempt(self, call: _CallRecord, work: Callable[[], T]) -> T:
        """Return what `work` returns; where it fails, the call is counted and ends."""
        try:
            return work()
        except RequestError as caught:
            error = caught
        except grpc.RpcError:  # the caller left
            self._count(call, CLIENT_CLOSED_REQUEST)
            raise
        except Exception:
            logger.exception("A request failed.", extra=facts(call.caller))
            error = InternalError("internal error")
        self._refuse(call, error)

    def _refuse(self, call: _CallRecord, error: RequestError) -> NoReturn:
        """Count a call, and end it by an exception that grpcio knows."""
        self._count(call, error.status)
        _trace(call)
        abort(error, call.context)

    def _count(self, call: _CallRecord, status: int) -> None:
        """Count a call that the queue never saw; it ended on another thread."""
        self._later(self._service.count, call.name, status, call.begun, call.caller)

    def _caller(self, path: str, context: Context) -> ClientInfo | None:
        fields: dict[bytes, bytes] = {}
        for key, value in context.invocation_metadata():
            name, field = key.encode(), value if isinstance(value, bytes) else value.encode()
            fields[name] = b"%b, %b" % (fields[name], field) if name in fields else field
        caller = self._service.client_info("POST", path, None, fields)
        if caller is not None:
            caller.client = _address(context.peer())
        return caller

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(call, *arguments)


def abort(error: RequestError, context: Context) -> NoReturn:
    """End a call, by an exception that grpcio knows."""
    context.abort(code_of(error), error.message[:MAX_DETAILS])
    raise AssertionError


def _trace(call: _CallRecord) -> None:
    """Say what the answer says of the request, in the metadata at its end."""
    if call.caller is not None:
        headers = [(name.decode(), value.decode()) for name, value in call.caller.headers()]
        call.context.set_trailing_metadata(headers)


def _address(peer: str) -> str | None:
    """Return the address in what grpcio calls a peer, such as ipv4:10.0.0.1:1234 or ipv6:%5B::1%5D:1234."""
    family, _, rest = unquote(peer).partition(":")
    if family not in ("ipv4", "ipv6"):
        return None
    return rest.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
