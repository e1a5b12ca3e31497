"""The life of one inference request, whichever front end brought it: begun, decoded, queued, encoded, ended.

Front ends differ in how bytes come and go; what happens between is here, once. Used from the event loop only;
`decode` and `encode` of a protocol are pure and may run on any thread.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from modelpress.serving.batching.request import Answer, Request
from modelpress.serving.errors import CLIENT_CLOSED_REQUEST, InternalError, RequestError
from modelpress.serving.observability.access_log import ClientInfo, facts
from modelpress.serving.protocols.base import Body, DecodedRequest, Encoded, InferenceProtocol
from modelpress.serving.service import Service

Reply = Callable[[Encoded | RequestError], None]
Unpack = Callable[[Body], Body]  # raises RequestError
Decoded = DecodedRequest | Exception

# Longer ones are read on a thread: they would hold up all others for a millisecond or more.
_DECODE_IN_LOOP_BYTES = 256 * 1024  # counted without raw tensors

logger = logging.getLogger(__name__)


class Budget:
    """How large a body may be, how long it may take to arrive, and how much is held of all that do."""

    def __init__(self, max_bytes: int, max_total_bytes: int, timeout_seconds: float) -> None:
        self.max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self.timeout_seconds = timeout_seconds
        self.held = 0  # bytes

    def hold(self, size: int) -> bool:
        """Count bytes that arrived; returns whether the budget allows them. `release` them later."""
        self.held += size
        return self.held <= self._max_total_bytes

    def release(self, size: int) -> None:
        """Count bytes out that `hold` counted."""
        self.held -= size


class RequestContext:
    """One request from its head to its answer.

    `reply` gets the encoded answer or the error, once, perhaps before `submit` returns, unless the request is
    cancelled before. The front end sends it and calls `end`.
    """

    __slots__ = ("_decoded", "_queued", "_reply", "_service", "begun", "client", "ended", "protocol")

    def __init__(
        self,
        service: Service,
        protocol: InferenceProtocol,
        client: ClientInfo | None,
        reply: Reply,
        begun: float | None = None,
    ) -> None:
        self._service = service
        self.protocol = protocol
        self.client = client  # None where neither the log nor a trace needs it
        self._reply = reply
        self._decoded: DecodedRequest | None = None
        self._queued: Request | None = None
        self.ended = False
        arrived = service.begin()
        self.begun = arrived if begun is None else begun  # as time.perf_counter() gives it

    def receive(
        self, body: Body, json_length: int | None, unpack: Unpack | None, freed: Callable[[], None]
    ) -> None:
        """Decode a body and queue it; a long one on a thread, one at a time. `freed` is called in between.

        Raw tensors follow the first `json_length` bytes of what `unpack` makes of it, if they are given.
        """
        if unpack is None and (json_length or len(body)) <= _DECODE_IN_LOOP_BYTES:
            self._take(self._decode(body, json_length, unpack), freed)
        else:
            decoding = self._service.decoder.submit(self._decode, body, json_length, unpack)
            decoding.add_done_callback(partial(self._decoded_aside, asyncio.get_running_loop(), freed))

    def _decode(self, body: Body, json_length: int | None, unpack: Unpack | None) -> Decoded:
        """Return what a body holds, or what is wrong with it. On any thread."""
        try:
            return self.protocol.decode(body if unpack is None else unpack(body), json_length)
        except Exception as error:
            return error

    def _decoded_aside(
        self, loop: asyncio.AbstractEventLoop, freed: Callable[[], None], done: Future[Decoded]
    ) -> None:
        """Go back into the loop. On the thread that decoded."""
        loop.call_soon_threadsafe(self._take, done.result(), freed)

    def _take(self, decoded: Decoded, freed: Callable[[], None]) -> None:
        """Queue what a body held."""
        freed()
        if self.ended:
            return
        if isinstance(decoded, Exception):
            self._answer(decoded if isinstance(decoded, RequestError) else self._fault(decoded))
        else:
            self.submit(decoded)

    def submit(self, decoded: DecodedRequest) -> None:
        """Queue the rows of a decoded request."""
        if self.client is not None:
            self.client.identify(decoded.id)
        batcher = self._service.batcher
        assert batcher is not None  # requests are decoded only where there is a model
        self._decoded = decoded
        inputs, decoded.inputs = decoded.inputs, []  # freed with the batch, not with the answer
        try:
            self._queued = batcher.submit(inputs, self._computed)
        except RequestError as error:
            self._answer(error)

    def cancel(self) -> None:
        """Forget a request whose client left: rows that no batch has taken are not computed."""
        self.end(CLIENT_CLOSED_REQUEST)

    def end(self, status: int) -> None:
        """Count the request as answered with `status`, a code of HTTP; only the first call counts."""
        if self.ended:
            return
        self.ended = True
        self._reply = _to_nobody  # the one before refers to this
        if self._queued is not None:
            assert self._service.batcher is not None
            self._service.batcher.abandon(self._queued)
            self._queued = None  # its answer refers to this, too
        self._service.end(self.protocol.name, status, self.begun, self.client)

    def _computed(self, answer: Answer) -> None:
        """Take the outputs, or an error, from the batcher."""
        self._queued = None
        if self.ended:
            return
        assert self._decoded is not None
        try:
            if isinstance(answer, Exception):
                raise answer
            encoded = self.protocol.encode(self._decoded, answer)
        except RequestError as error:
            self._answer(error)
        except Exception as error:
            self._answer(self._fault(error))
        else:
            self._reply(encoded)

    def _answer(self, answer: Encoded | RequestError) -> None:
        if not self.ended:
            self._reply(answer)

    def _fault(self, error: Exception) -> InternalError:
        """Log an error; return what the client gets for a fault of ours."""
        logger.error("A request failed.", exc_info=error, extra=facts(self.client))
        return InternalError("internal error")


def _to_nobody(_: Encoded | RequestError) -> None:
    """Take the place of a front end that was answered, or whose client left."""
