"""REST calls to the API server: JSON in, JSON out, counted, and only verbs of `resources`.

Uses the kubernetes client's configuration (in the cluster or a kubeconfig), TLS and credentials, but not its
typed models: the planner speaks plain objects, and a field that a newer API has must survive.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from kubernetes import client, config
from kubernetes.client.rest import RESTClientObject
from urllib3 import BaseHTTPResponse, Retry, Timeout

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.controllers.cluster import ServerError
from modelpress.controllers.resources import Resource
from modelpress.planning.types import Body

USER_AGENT = f"modelpress/{version('modelpress')}"
_METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
_READS = frozenset({"get", "list", "watch"})
_READ_SECONDS, _WRITE_SECONDS = 30.0, 10.0
_CONNECT_SECONDS = 10.0
# A connection that could not be made is tried once more, nothing else: whoever asked asks again.
_RETRIES = Retry(total=1, connect=1, read=0, redirect=0, status=0, other=0)
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_ESCAPED_BY_GO = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class ApiError(ServerError):
    """The API server answered with an error status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotActive(Exception):
    """A write that was not sent: another operator may be the active one."""


@dataclass(frozen=True)
class Request:
    """One call; `verb` is RBAC's word, and `patch` is a server-side apply."""

    verb: str
    resource: Resource
    namespace: str | None
    name: str | None = None
    subresource: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    metadata_only: bool = False  # the items of a list carry only their metadata


def load_configuration() -> client.Configuration:
    """Return the configuration of the pod's ServiceAccount or else of the kubeconfig. Raises UsageError."""
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = 32
    try:
        config.load_incluster_config(  # type: ignore[no-untyped-call]
            client_configuration=configuration
        )
    except config.ConfigException:
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        except config.ConfigException as error:
            message = f"no cluster: not in a pod, and no usable kubeconfig: {error}".replace("\n", " ")
            raise UsageError(Reason.INVALID_SPEC, message) from error
    return configuration


class Rest:
    """Calls with one connection pool; safe to use from several threads."""

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        may_write: Callable[[], bool] = lambda: True,
        most_seconds: float = _READ_SECONDS,
    ) -> None:
        """`may_write` is asked before each write; no call but a watch waits longer than `most_seconds`."""
        self._configuration = configuration
        self._may_write = may_write
        self._most_seconds = most_seconds
        self._pool = RESTClientObject(configuration).pool_manager
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()

    def requests(self) -> dict[tuple[str, str], int]:
        """Return how many calls were made for each (verb, resource)."""
        with self._lock:
            return dict(self._requests)

    def writes(self) -> int:
        """Return how many calls asked for a change."""
        return sum(count for (verb, _), count in self.requests().items() if verb not in _READS)

    def send(self, request: Request) -> dict[str, Any]:
        """Make a call and return the answer.

        Raises ApiError, urllib3's errors where nothing answers, and NotActive.
        """
        seconds = min(self._most_seconds, _READ_SECONDS if request.verb in _READS else _WRITE_SECONDS)
        connect = min(self._most_seconds, _CONNECT_SECONDS)
        response = self._request(request, Timeout(connect=connect, read=seconds))
        return _answer(response.status, response.data)

    def lines(self, request: Request, *, silent_seconds: float) -> Iterator[bytes]:
        """Yield the lines of an answer as they come; the connection ends with the iterator.

        Raises ApiError, and urllib3's errors: ReadTimeoutError where nothing came for `silent_seconds`.
        """
        timeout = Timeout(connect=_CONNECT_SECONDS, read=silent_seconds)
        response = self._request(request, timeout, preload_content=False)
        try:
            if not 200 <= response.status < 300:
                _answer(response.status, response.data)
            yield from (line for line in response if line)
        finally:
            response.close()

    def _request(
        self, request: Request, timeout: Timeout, *, preload_content: bool = True
    ) -> BaseHTTPResponse:
        resource = request.resource
        allowed = resource.status_verbs if request.subresource else resource.verbs
        if request.verb not in allowed:
            raise PermissionError(
                f"{request.verb} of {resource.plural} is not in the operator's table of verbs"
            )
        if request.verb not in _READS and not self._may_write():
            raise NotActive(f"{request.verb} of {resource.plural} not sent: this operator is not active")
        target = resource.plural + (f"/{request.subresource}" if request.subresource else "")
        with self._lock:
            self._requests[request.verb, target] += 1
        url = self._configuration.host + resource.path(request.namespace, request.name, request.subresource)
        if request.query:
            url += "?" + urlencode(request.query)
        response: BaseHTTPResponse = self._pool.request(
            _METHODS[request.verb],
            url,
            body=None if request.body is None else encoded(request.body),
            headers=self._headers(request),
            timeout=timeout,
            retries=_RETRIES,
            preload_content=preload_content,
        )
        return response

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {
            "Accept": _METADATA if request.metadata_only else "application/json",
            "User-Agent": USER_AGENT,
        }
        if request.body is not None:
            headers["Content-Type"] = _APPLY if request.verb == "patch" else "application/json"
        settings: Any = self._configuration.auth_settings()
        headers.update({setting["key"]: setting["value"] for setting in settings.values()})
        return headers


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body with the bytes that Go's encoding/json would write of the same object.

    The API server keeps `data` of a ControllerRevision as it comes, encodes it anew for every patch, whoever
    sends it, and refuses the patch where that changes a byte: keys are sorted, nothing stands between tokens.
    """
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPED_BY_GO).encode()


def _answer(status: int, data: bytes) -> dict[str, Any]:
    """Return the decoded answer, or raise the error that it states."""
    if 200 <= status < 300:
        answer: dict[str, Any] = json.loads(data)
        return answer
    try:
        stated = json.loads(data)
        raise ApiError(status, stated.get("reason", ""), stated.get("message", ""))
    except (ValueError, AttributeError):
        raise ApiError(status, "", data[:200].decode(errors="replace").strip()) from None
