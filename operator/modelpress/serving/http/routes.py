"""Which path means what: inference requests of each protocol, and the pages beside them."""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote

import httptools

from modelpress.serving.errors import BadRequest, NotFound, RequestError, Unavailable, WrongMethod
from modelpress.serving.http.responses import Response, of_json
from modelpress.serving.protocols import oip_rest, openapi, tfserving_rest
from modelpress.serving.protocols.base import InferenceProtocol, Model
from modelpress.serving.protocols.json_tensors import dump, echo
from modelpress.serving.protocols.names import no_model, no_version
from modelpress.serving.service import Phase, Service

T = TypeVar("T")
Handler = Callable[[bytes], Response]  # answers a page; takes the Accept header
PAGE_METHODS = (b"GET", b"HEAD")


class Routes:
    """The paths of a worker; those of its model once it is loaded."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._inference: dict[str, InferenceProtocol] = {}  # POST
        self._pages: dict[str, Handler] = {  # GET and HEAD
            "/v2": lambda _: of_json(200, oip_rest.server_metadata()),
            "/v2/health/live": lambda _: of_json(200, {"live": True}),
            "/v2/health/ready": self._ready,
            "/metrics": self._expose,
        }

    def add_model(self, model: Model) -> None:
        """Add the paths of the model; the service must serve it before a request comes."""
        oip = oip_rest.OipRest(model)
        tfserving = tfserving_rest.TfServingRest(model)
        described = dump(openapi.document(model))
        self._pages["/openapi.json"] = lambda _: Response(200, described)
        for base in openapi.oip_paths(model):
            self._pages[base] = lambda _: of_json(200, oip_rest.model_metadata(model))
            self._pages[f"{base}/ready"] = self._model_ready
            self._inference[f"{base}/infer"] = oip
        for base in openapi.tfserving_paths(model):
            self._pages[base] = lambda _: of_json(200, tfserving_rest.status(self._service.ready))
            self._pages[f"{base}/metadata"] = lambda _: of_json(200, tfserving_rest.metadata(model))
            self._inference[f"{base}:predict"] = tfserving

    def protocol(self, method: bytes, path: str) -> InferenceProtocol | None:
        """Return the protocol of an inference request, None for any other."""
        if method != b"POST":
            return None
        return self._inference.get(path) or _at(self._inference, path)

    def page(self, method: bytes, path: str) -> Handler:
        """Return what answers any other request. Raises the RequestError that does where nothing is there."""
        page = _at(self._pages, path)
        if page is not None and method in PAGE_METHODS:
            return page
        raise self._unknown(method, path)

    def _unknown(self, method: bytes, path: str) -> RequestError:
        """Return what is wrong with a request that has no route."""
        allowed = "POST" if _at(self._inference, path) else "GET, HEAD" if _at(self._pages, path) else None
        if allowed is not None:
            return WrongMethod(f"{echo(path)} takes {allowed}, not {echo(method.decode('latin-1'))}", allowed)
        if self._service.phase is Phase.LOADING:
            return Unavailable("the model is being loaded")
        if path.startswith(("/v1/models/", "/v2/models/")):
            name, *rest = (part.partition(":")[0] for part in path.split("/")[3:])
            if name != self._service.name:
                return no_model(name, self._service.name)
            model = self._service.model
            if model is not None and rest[:1] == ["versions"] and len(rest) > 1:
                served = model.revision if path.startswith("/v2") else tfserving_rest.VERSION
                if rest[1] != served:
                    return no_version(rest[1], name, served)
        return NotFound(f"no such path: {echo(path)}")

    def _ready(self, _: bytes) -> Response:
        ready = self._service.ready
        return of_json(200 if ready else 503, {"ready": ready})

    def _model_ready(self, _: bytes) -> Response:
        ready = self._service.ready
        return of_json(200 if ready else 503, {"name": self._service.name, "ready": ready})

    def _expose(self, accept: bytes) -> Response:
        body, content_type = self._service.metrics.expose(accept.decode("latin-1"))
        return Response(200, body, content_type.encode())


def _at(routes: dict[str, T], path: str) -> T | None:
    """Return what is at a path; a slash at its end means nothing."""
    found = routes.get(path)
    return found if found is not None or not path.endswith("/") else routes.get(path[:-1])


def path_of(url: bytes) -> str:
    """Return the path in the target of a request, without escapes. Raises BadRequest."""
    try:
        path = (httptools.parse_url(url).path or b"/").decode("latin-1")
    except httptools.HttpParserInvalidURLError as error:
        raise BadRequest("the target of the request is no URL") from error
    return unquote(path) if "%" in path else path
