"""The life of one inference request, whichever front end brought it: begun, decoded, queued, encoded, ended.

Front ends differ in how bytes come and go; what happens between is here, once. Used from the event loop only;
`decode` and `encode` of a protocol are pure and may run on any thread.
"""

import logging
from collections.abc import Callable

from modelpress.serving.access import Caller, facts
from modelpress.serving.errors import CLIENT_CLOSED_REQUEST, InternalError, RequestError
from modelpress.serving.protocols.base import Body, Call, Encoded, InferenceProtocol
from modelpress.serving.requests import Answer, Request
from modelpress.serving.service import Service

Reply = Callable[[Encoded | RequestError], None]

logger = logging.getLogger(__name__)


class RequestContext:
    """One request from its head to its answer.

    `reply` gets the encoded answer or the error, once, perhaps before `submit` returns, unless the request is
    cancelled before. Whoever is replied to sends it and calls `end`.
    """

    __slots__ = ("_decoded", "_queued", "_reply", "_service", "begun", "client", "ended", "protocol")

    def __init__(
        self, service: Service, protocol: InferenceProtocol, client: Caller | None, reply: Reply
    ) -> None:
        self._service = service
        self.protocol = protocol
        self.client = client  # None where nobody wants to know
        self._reply = reply
        self._decoded: Call | None = None
        self._queued: Request | None = None
        self.ended = False
        self.begun = service.begin()  # as time.perf_counter() gives it

    def receive(self, body: Body, json_length: int | None = None) -> None:
        """Decode a body, of which raw tensors follow the first `json_length` bytes if given, and queue it."""
        try:
            decoded = self.protocol.decode(body, json_length)
        except RequestError as error:
            self._reply(error)
        except Exception:
            self._reply(self._fault())
        else:
            self.submit(decoded)

    def submit(self, decoded: Call) -> None:
        """Queue the rows of a decoded request."""
        if self.client is not None:
            self.client.identify(decoded.id)
        batcher = self._service.batcher
        assert batcher is not None  # requests are decoded only where there is a model
        self._decoded = decoded
        inputs, decoded.inputs = decoded.inputs, []  # freed with the batch, not with the answer
        try:
            self._queued = batcher.submit(inputs, self._answered)
        except RequestError as error:
            self._reply(error)

    def cancel(self) -> None:
        """Forget a request whose caller left: rows that no batch has taken are not computed."""
        self.end(CLIENT_CLOSED_REQUEST)

    def end(self, status: int) -> None:
        """Count the request as answered with `status`, a code of HTTP; only the first call counts."""
        if self.ended:
            return
        self.ended = True
        if self._queued is not None:
            assert self._service.batcher is not None
            self._service.batcher.abandon(self._queued)
            self._queued = None  # which refers to this
        self._service.end(self.protocol.name, status, self.begun, self.client)

    def _answered(self, answer: Answer) -> None:
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
            self._reply(error)
        except Exception:
            self._reply(self._fault())
        else:
            self._reply(encoded)

    def _fault(self) -> InternalError:
        """Log the exception being handled; return what the caller is told of a fault of ours."""
        logger.exception("A request failed.", extra=facts(self.client))
        return InternalError("internal error")
