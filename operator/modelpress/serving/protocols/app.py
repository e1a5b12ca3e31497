"""The ASGI application: routes, and the way of a request from bytes to bytes.

It holds no model code and no protocol's details: those are pure functions in the modules beside it.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from modelpress.serving.access import Caller, facts
from modelpress.serving.errors import (
    CLIENT_CLOSED_REQUEST,
    NotFound,
    Overloaded,
    RequestError,
    Unavailable,
    WrongMethod,
)
from modelpress.serving.protocols import oip_rest, openapi, tfserving_rest
from modelpress.serving.protocols.base import Call, Encoded, InferenceProtocol, Model
from modelpress.serving.protocols.http import (
    BEGUN,
    BINARY,
    JSON_LENGTH,
    BodyReader,
    ClientGone,
    Incoming,
    Receive,
    Response,
    Scope,
    Send,
    encoded,
    has_body,
    header,
    json_length,
    linger,
    observed,
    refuse_body,
    respond,
    unless_gone,
)
from modelpress.serving.protocols.json_tensors import dump, echo
from modelpress.serving.service import Phase, Service

_RETRY_AFTER_SECONDS = b"1"

logger = logging.getLogger(__name__)


class App:
    """A plain ASGI application that serves one model."""

    def __init__(self, service: Service, bodies: BodyReader) -> None:
        self.service = service
        self.bodies = bodies
        self.calls: dict[str, InferenceProtocol] = {}  # POST
        self._pages: dict[str, Callable[[Scope], Response]] = {  # GET
            "/v2": lambda _: _json(200, oip_rest.server_metadata()),
            "/v2/health/live": lambda _: _json(200, {"live": True}),
            "/v2/health/ready": self._ready,
            "/metrics": self._expose,
        }

    def add_model(self, model: Model) -> None:
        """Add the routes of the model; the service must serve it before a request comes."""
        oip = oip_rest.OipRest(model)
        tfserving = tfserving_rest.TfServingRest(model)
        described = dump(openapi.document(model))
        self._pages["/openapi.json"] = lambda _: Response(200, described)
        for base in openapi.oip_paths(model):
            self._pages[base] = lambda _: _json(200, oip_rest.model_metadata(model))
            self._pages[f"{base}/ready"] = self._model_ready
            self.calls[f"{base}/infer"] = oip
        for base in openapi.tfserving_paths(model):
            self._pages[base] = lambda _: _json(200, tfserving_rest.status(self.service.ready))
            self._pages[f"{base}/metadata"] = lambda _: _json(200, tfserving_rest.metadata(model))
            self.calls[f"{base}:predict"] = tfserving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        call = self.calls.get(path)
        if call is not None and method == "POST":
            await self._infer(call, scope, receive, send)
        else:
            await self._page(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is no inference request."""
        begun = time.perf_counter()
        caller = self._caller(scope)
        if caller is not None:
            send = observed(send, caller)
        refused = has_body(scope)  # and so it stays, until the body was read
        try:
            page = self._found(scope["path"], scope["method"])
            if refused:
                await self.bodies.skip(scope, receive, begun)
                refused = False
            response = await encoded(scope, page(scope))
        except ClientGone:
            if caller is not None:
                self.service.log(caller, None, CLIENT_CLOSED_REQUEST, begun)
            return
        except RequestError as error:
            response = failure(error)
        await (refuse_body(send, response) if refused else self._respond(send, response))
        if caller is not None:
            self.service.log(caller, None, response.status, begun)
        if refused:
            await linger(receive, send)

    async def _infer(self, protocol: InferenceProtocol, scope: Scope, receive: Receive, send: Send) -> None:
        begun = self.service.begin()
        begun = scope.get("state", {}).get(BEGUN) or begun
        caller = self._caller(scope)
        if caller is not None:
            send = observed(send, caller)
        status = 500
        refused = False
        receive = incoming = Incoming(receive)
        try:
            length = json_length(scope)
            body = await self.bodies.read(scope, receive, begun)
            call = protocol.decode(body, length)
            if caller is not None:
                caller.identify(call.id)
            response = await self._compute(call, protocol, receive)
            status = response.status
            await self._respond(send, await encoded(scope, response))
        except ClientGone:
            status = CLIENT_CLOSED_REQUEST
        except RequestError as error:
            status = error.status
            refused = not incoming.complete
            response = failure(error)
            await (refuse_body(send, response) if refused else self._respond(send, response))
        except Exception:
            logger.exception("A request failed.", extra=facts(caller))
            await self._respond(send, internal_error())
        finally:
            self.service.end(protocol.name, status, begun, caller)
        if refused:
            await linger(receive, send)

    async def _compute(self, call: Call, protocol: InferenceProtocol, receive: Receive) -> Response:
        batcher = self.service.batcher
        assert batcher is not None  # routes of protocols exist only with it
        with batcher.answering(call.inputs) as future:
            outputs = await unless_gone(future, receive)
        return success(protocol.encode(call, outputs))

    def _found(self, path: str, method: str) -> Callable[[Scope], Response]:
        """Return what answers a request. Raises the RequestError that does where nothing is there."""
        page = self._pages.get(path)
        if page is not None and method == "GET":
            return page
        raise self._unknown(path, method, "POST" if path in self.calls else "GET" if page else None)

    def _unknown(self, path: str, method: str, allowed: str | None) -> RequestError:
        """Return what is wrong with a request that has no route."""
        if allowed is not None:
            return WrongMethod(f"{echo(path)} takes {allowed}, not {echo(method)}", allowed)
        if self.service.phase is Phase.LOADING:
            return Unavailable("the model is being loaded")
        if path.startswith(("/v1/models/", "/v2/models/")):
            name, *rest = (part.partition(":")[0] for part in path.split("/")[3:])
            if name != self.service.name:
                return NotFound(f"no model {echo(name)}; this worker serves {self.service.name!r}")
            model = self.service.model
            if model is not None and rest[:1] == ["versions"] and len(rest) > 1:
                served = model.revision if path.startswith("/v2") else tfserving_rest.VERSION
                if rest[1] != served:
                    return NotFound(f"no version {echo(rest[1])} of {name!r}; this worker serves {served!r}")
        return NotFound(f"no such path: {echo(path)}")

    def _ready(self, _: Scope) -> Response:
        ready = self.service.ready
        return _json(200 if ready else 503, {"ready": ready})

    def _model_ready(self, _: Scope) -> Response:
        ready = self.service.ready
        return _json(200 if ready else 503, {"name": self.service.name, "ready": ready})

    def _expose(self, scope: Scope) -> Response:
        accept = header(scope, b"accept") or b""
        body, content_type = self.service.metrics.expose(accept.decode("latin-1"))
        return Response(200, body, content_type.encode())

    def _caller(self, scope: Scope) -> Caller | None:
        client = scope.get("client")
        return self.service.caller(
            scope["method"], scope["path"], client[0] if client else None, scope["headers"]
        )

    async def _respond(self, send: Send, response: Response) -> None:
        await respond(send, response, self._closing())

    def _closing(self) -> bool:
        """Whether connections end after their answer, so that callers find another worker."""
        return self.service.phase is Phase.DRAINING


def success(answer: Encoded) -> Response:
    """Return the answer with the outputs."""
    body = b"".join(answer.parts)
    if answer.json_length is None:
        return Response(200, body)
    return Response(200, body, BINARY, [(JSON_LENGTH, str(answer.json_length).encode())])


def internal_error() -> Response:
    """Return what a caller is told of a fault of ours."""
    return _json(500, {"error": "internal error"})


def _json(status: int, value: Any) -> Response:
    return Response(status, dump(value))


def failure(error: RequestError) -> Response:
    """Return the error answer; both protocols have the same form of it."""
    headers = []
    if isinstance(error, Overloaded | Unavailable):
        headers.append((b"retry-after", _RETRY_AFTER_SECONDS))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allowed.encode()))
    return Response(error.status, dump({"error": error.message}), headers=headers)
