"""One request on a connection: what its head says, its body, and its end."""

import logging
from collections.abc import Mapping
from functools import partial
from time import perf_counter

from modelpress.serving.errors import BadRequest, InternalError, RequestError
from modelpress.serving.exchange import Budget, Reply, RequestContext
from modelpress.serving.http.bodies import ArrivingBody, too_large
from modelpress.serving.http.encodings import inflate, request_encoding
from modelpress.serving.http.parser import Head
from modelpress.serving.http.responses import JSON_LENGTH, Response, failure
from modelpress.serving.http.routes import Handler, Routes, path_of
from modelpress.serving.observability.access_log import ClientInfo, facts
from modelpress.serving.service import Service

_SELDOM = frozenset([b"accept", b"accept-encoding", b"content-encoding", b"expect", JSON_LENGTH])
_MAX_DIGITS = 18  # a length in a header has no more

logger = logging.getLogger(__name__)


class HttpRequest:
    """From the end of its head, or from its refusal, to its answer."""

    def __init__(self, service: Service, budget: Budget, address: str | None) -> None:
        self._service = service
        self._budget = budget
        self._address = address  # the client's
        self._encoding: str | None = None  # the body's, None where it is plain
        self.accept = self.accept_encoding = b""  # what the client takes as an answer
        self.begun = perf_counter()
        self.body = ArrivingBody(budget)
        self.client: ClientInfo | None = None  # None where neither the log nor a trace needs it
        self.complete = False  # its body has come
        self.context: RequestContext | None = None  # only an inference request has one
        self.ended = False
        self.error: RequestError | None = None
        self.expects_continue = False
        self.is_head = False  # its answer has no body
        self.json_length: int | None = None
        self.keep_alive = False
        self.length = -1  # the body's bytes, where the head says them
        self.page: Handler | None = None
        self.started = False  # its answer is being made
        self.takes_interim = False  # the client understands answers of 1xx

    # the head

    def take_head(self, head: Head, headers: Mapping[bytes, bytes], routes: Routes, reply: Reply) -> None:
        """Read the head. What is wrong with it becomes the error of the request."""
        method, url = head.method, head.url
        self.takes_interim, self.keep_alive = head.is_newest, head.keep_alive
        path = url.decode("latin-1")
        protocol = routes.protocol(method, path)
        wrong = None
        if protocol is None:
            try:
                path = path_of(url)
            except RequestError as error:
                wrong = error
            protocol = routes.protocol(method, path)
        self.client = self._service.client_info(method.decode("latin-1"), path, self._address, headers)
        try:
            if wrong is not None:
                raise wrong
            if protocol is not None:
                self.context = RequestContext(self._service, protocol, self.client, reply)
                self.begun = self.context.begun
            else:
                self.is_head = method == b"HEAD"
                self.page = routes.page(method, path)
            self._read(headers)
        except RequestError as error:
            self.error = error

    def _read(self, headers: Mapping[bytes, bytes]) -> None:
        """Read the headers. Raises RequestError."""
        length = headers.get(b"content-length")
        if length is not None:
            self.length = int(length)
        if self.length > self._budget.max_bytes:
            raise too_large(self._budget.max_bytes)
        if _SELDOM.isdisjoint(headers):
            return
        self.accept = headers.get(b"accept", b"")
        self.accept_encoding = headers.get(b"accept-encoding", b"")
        self.expects_continue = headers.get(b"expect", b"").lower() == b"100-continue"
        json_length = headers.get(JSON_LENGTH)
        if json_length is not None:
            self.json_length = _json_length(json_length)
        encoding = headers.get(b"content-encoding")
        if encoding is not None:
            self._encoding = request_encoding(encoding.decode("latin-1"))

    def take_broken_head(self, method: bytes, url: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Note what is known of a head that was refused, for the log: perhaps nothing."""
        path = url.partition(b"?")[0].decode("latin-1")
        known = method.decode("latin-1") if url else None
        self.client = self._service.client_info(known, path or None, self._address, headers)

    # the answer

    def fail(self, error: RequestError) -> None:
        """Answer with an error, whatever else comes of it."""
        self.error = error
        self.body.release()

    def start(self) -> Response | None:
        """Return the answer, None where its context replies with it."""
        self.started = True
        if self.error is not None:
            self.body.release()
            return failure(self.error)
        if self.page is not None:
            self.body.release()
            return self._answer_page(self.page)
        assert self.context is not None
        unpack = None
        if self._encoding is not None:
            unpack = partial(inflate, encoding=self._encoding, max_bytes=self._budget.max_bytes)
        body = self.body.take(raw=self.json_length is not None and unpack is None)
        self.context.receive(body, self.json_length, unpack, self.body.release)
        return None

    def _answer_page(self, page: Handler) -> Response:
        try:
            return page(self.accept)
        except Exception:
            logger.exception("A page could not be made.", extra=facts(self.client))
            return failure(InternalError("internal error"))

    def end(self, status: int) -> None:
        """Count it as answered with `status`."""
        self.ended = True
        if self.body.held:
            self.body.release()
        error, self.error = self.error, None  # an error refers to frames that refer to this
        context, self.context = self.context, None  # its reply refers to this
        if context is not None:
            context.end(status)
        elif error is not None:
            self._service.refuse(status, self.begun, self.client)
        elif self.client is not None:
            self._service.log(self.client, None, status, self.begun)


def _json_length(value: bytes) -> int:
    """Return where the JSON of a body ends and raw tensors begin. Raises BadRequest."""
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        shown = repr(value[:_MAX_DIGITS].decode("latin-1"))
        raise BadRequest(f"Inference-Header-Content-Length must be an integer of 0 or more, not {shown}")
    return int(value)
