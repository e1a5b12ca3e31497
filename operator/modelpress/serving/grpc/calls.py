"""Calls of gRPC in the event loop, from metadata to status: every call is counted, whatever becomes of it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import grpc

from modelpress.serving.errors import (
    CLIENT_CLOSED_REQUEST,
    DeadlineExceeded,
    InternalError,
    RequestError,
    Unimplemented,
)
from modelpress.serving.exchange import RequestContext
from modelpress.serving.grpc.arrivals import Arrivals, Context, worker_ends
from modelpress.serving.grpc.status import MAX_DETAILS, code_of
from modelpress.serving.observability.access_log import Caller, facts
from modelpress.serving.protocols.base import Encoded, InferenceProtocol
from modelpress.serving.protocols.json_tensors import echo
from modelpress.serving.service import Service

NAME = "grpc"  # in metrics, of calls that are no inference
# Messages that arrive or are decoded at a time; health answers while those of inferences take all slots
_INFERENCES = 64
_PAGES = 8
_STREAMS = 4
# grpcio takes calls one after the other, each in about so many turns of the loop: without a wait every batch
# has one call, however many there are
_GATHERING_TURNS = 12

T = TypeVar("T")
Page = Callable[[bytes], bytes]  # from a serialized request to a serialized answer; raises RequestError
Stream = Callable[[Context], Awaitable[None]]  # writes its answers; raises RequestError

logger = logging.getLogger(__name__)


class Calls:
    """All calls of a worker. Used from the event loop only."""

    def __init__(self, service: Service, timeout_seconds: float) -> None:
        """Count calls of `service`; messages that take longer than `timeout_seconds` are not waited for."""
        self._service = service
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._inferences = Arrivals(_INFERENCES)
        self._pages = Arrivals(_PAGES)
        self.streams = Arrivals(_STREAMS)
        self._open: set[asyncio.Task[Any]] = set()  # of calls whose answers are a stream
        self._ending = False
        self._arrived: list[tuple[RequestContext, bytes]] = []

    def infer(self, path: str, protocol: Callable[[], InferenceProtocol]) -> grpc.RpcMethodHandler:
        """Return the handler of an inference; `protocol` raises Unavailable where there is no model yet."""

        async def answer(_: Any, context: Context) -> bytes:
            try:
                codec = protocol()
            except RequestError as error:
                return await self._refuse(path, error, context)
            return await self._infer(codec, self._caller(path, context), context)

        return grpc.stream_unary_rpc_method_handler(answer)

    def page(self, path: str, page: Page) -> grpc.RpcMethodHandler:
        """Return the handler of a method that needs no model's computation."""

        async def answer(_: Any, context: Context) -> bytes:
            return await self._answer(path, partial(self._page, page), context)

        return grpc.stream_unary_rpc_method_handler(answer)

    def stream(self, path: str, stream: Stream, serialize: Callable[[Any], bytes]) -> grpc.RpcMethodHandler:
        """Return the handler of a method whose answers are a stream of messages."""

        async def answer(_: Any, context: Context) -> None:
            await self._answer(path, partial(self._stream, stream), context, left=200)  # the usual end

        return grpc.stream_stream_rpc_method_handler(answer, response_serializer=serialize)

    def unknown(self, path: str) -> grpc.RpcMethodHandler:
        """Return the handler of a method that does not exist."""

        async def answer(_: Any, context: Context) -> bytes:
            return await self._refuse(path, Unimplemented(f"no such method: {echo(path)}"), context)

        return grpc.stream_unary_rpc_method_handler(answer)

    def check(self) -> None:
        """End calls whose message takes too long."""
        for arrivals in (self._inferences, self._pages, self.streams):
            arrivals.check(self._loop.time(), self._timeout_seconds)

    def end(self) -> None:
        """Take no more calls, and end those that would not end by themselves: streams, and late messages."""
        self._ending = True
        self._inferences.end()
        self._pages.end()
        for task in self._open:
            task.cancel()

    async def _infer(self, codec: InferenceProtocol, caller: Caller | None, context: Context) -> bytes:
        answered: asyncio.Future[Encoded | RequestError] = self._loop.create_future()

        def reply(answer: Encoded | RequestError) -> None:
            if not answered.done():  # the caller is leaving in this turn of the loop
                answered.set_result(answer)

        request = RequestContext(self._service, codec, caller, reply)
        answer: Encoded | RequestError
        try:
            self._gather(request, await self._inferences.only(context))
            answer = await answered
        except asyncio.CancelledError:
            request.end(_left(context))
            raise
        except RequestError as error:
            answer = error
        _trace(caller, context)
        if isinstance(answer, RequestError):
            request.end(answer.status)
            return await _abort(answer, context)
        message = b"".join(answer.parts)
        if caller is not None:
            caller.sent = len(message)
        request.end(200)
        return message

    def _gather(self, request: RequestContext, message: bytes) -> None:
        """Decode a message some turns of the loop later, with those that come by then: they share a batch."""
        self._arrived.append((request, message))
        if len(self._arrived) == 1:
            self._take_arrived(_GATHERING_TURNS)

    def _take_arrived(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._take_arrived, turns - 1)
            return
        arrived, self._arrived = self._arrived, []
        for request, message in arrived:
            request.receive(message, None, None, self._inferences.release)

    async def _answer(
        self, path: str, work: Callable[[Context], Awaitable[T]], context: Context, left: int | None = None
    ) -> T:
        """Answer a call that is no inference, and count it; where its caller leaves, as `left` if given."""
        begun, caller = time.perf_counter(), self._caller(path, context)
        try:
            answer = await work(context)
        except asyncio.CancelledError:
            self._service.count(NAME, left or _left(context), begun, caller)
            raise
        except RequestError as caught:
            error = caught
        except Exception:
            logger.exception("A request failed.", extra=facts(caller))
            error = InternalError("internal error")
        else:
            if caller is not None and isinstance(answer, bytes):
                caller.sent = len(answer)
            self._service.count(NAME, 200, begun, caller)
            _trace(caller, context)
            return answer
        self._service.count(NAME, error.status, begun, caller)
        _trace(caller, context)
        return await _abort(error, context)

    async def _page(self, page: Page, context: Context) -> bytes:
        message = await self._pages.only(context)
        try:
            return page(message)
        finally:
            self._pages.release()

    async def _stream(self, stream: Stream, context: Context) -> None:
        """Let a stream be written until it ends, or the worker does."""
        if self._ending:
            raise worker_ends()
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await stream(context)
        except asyncio.CancelledError:
            if not self._ending:
                raise
            task.uncancel()
            raise worker_ends() from None
        finally:
            self._open.discard(task)

    async def _refuse(self, path: str, error: RequestError, context: Context) -> NoReturn:
        async def refuse(_: Context) -> NoReturn:
            raise error

        await self._answer(path, refuse, context)
        raise AssertionError

    def _caller(self, path: str, context: Context) -> Caller | None:
        fields: dict[bytes, bytes] = {}
        for key, value in context.invocation_metadata():
            name, field = key.encode(), value if isinstance(value, bytes) else value.encode()
            fields[name] = b"%b, %b" % (fields[name], field) if name in fields else field
        caller = self._service.caller("POST", path, None, fields)
        if caller is not None:
            caller.client = _address(context.peer())
        return caller


def _left(context: Context) -> int:
    """Return what a call counts as whose caller has left: its own deadline may have passed."""
    seconds = context.time_remaining()
    return DeadlineExceeded.status if seconds is not None and seconds <= 0 else CLIENT_CLOSED_REQUEST


async def _abort(error: RequestError, context: Context) -> NoReturn:
    """End a call, by an exception that grpcio knows."""
    await context.abort(code_of(error), error.message[:MAX_DETAILS])
    raise AssertionError


def _trace(caller: Caller | None, context: Context) -> None:
    """Say what the answer says of the request, in the metadata at its end."""
    if caller is not None:
        context.set_trailing_metadata(
            tuple((name.decode(), value.decode()) for name, value in caller.headers())
        )


def _address(peer: str) -> str | None:
    """Return the address in what grpcio calls a peer, such as ipv4:10.0.0.1:1234 or ipv6:%5B::1%5D:1234."""
    family, _, rest = unquote(peer).partition(":")
    if family not in ("ipv4", "ipv6"):
        return None
    return rest.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
