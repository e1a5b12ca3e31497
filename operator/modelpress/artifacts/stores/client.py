"""A registry client: oras with streaming, time limits and one clear error for each failure.

What is changed against oras 0.2, each for a reason:
- a failed request is repeated for seconds where the registry cannot be reached, and not for minutes: the Job
  and the kubelet retry;
- a challenge of the Basic scheme is answered (oras wants to know the scheme beforehand), and a token that the
  registry no longer takes is asked for anew (oras keeps one that may only pull), with the login of then;
- bodies are streamed, and sent again from their start after a challenge;
- credentials go to the registry and the token server that it names, never to another host.
"""

import ipaddress
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import urlsplit

import oras.auth.utils
import oras.provider
import requests
import urllib3

from modelpress.api.conditions import Reason
from modelpress.api.errors import ModelPressError, PermissionDenied, UnavailableError
from modelpress.artifacts.patience import patiently, reset, unreached

_SILENCE_SECONDS = 300
_DEFAULT_SECONDS = (
    8.0,
    60.0,
)  # to connect and to answer: of requests that oras sends by itself, for tokens
_READS = ("GET", "HEAD")
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


class RegistryClient(oras.provider.Registry):  # type: ignore[misc]  # oras has no types
    """Speaks to one registry; `login` gives (user, password) or None each time that the registry asks."""

    def __init__(self, host: str, *, plain_http: bool, login: Callable[[], tuple[str, str] | None]) -> None:
        super().__init__(hostname=_DOCKER_HUB.get(host, host), insecure=plain_http, auth_backend="token")
        self.login = login
        self.session.auth = _Unchanged()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, _Limited())
        self._authorization: str | None = None

    @property
    def url(self) -> str:
        """Root of the registry, such as https://registry.example.com."""
        return f"{self.prefix}://{self.hostname}"

    def do_request(  # noqa: PLR0913, PLR0917 - the signature is that of oras
        self,
        url: str,
        method: str = "GET",
        data: bytes | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> requests.Response:
        """Send a request, once more with a credential where the registry asks for one.

        Raises UnavailableError (StoreUnavailable) where there is no answer; any answer is returned.
        """
        options = {"data": data, "json": json, "stream": stream}
        try:
            response = self._send(method, url, headers, options)
            if response.status_code == 401 and self._answer(response):
                response.close()
                response = self._send(method, url, headers, options)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self.no_answer(error) from error
        return response

    def refusal(self, response: requests.Response) -> ModelPressError:
        """Return the error for an answer that is not the expected one."""
        said = _said(response)
        if response.status_code in (401, 403):
            problem = "the credential is refused" if self.login() else "no credential was given"
            return PermissionDenied(
                Reason.STORE_UNAUTHORIZED, f"{self.hostname}: {problem} ({response.status_code}{said})"
            )
        return UnavailableError(
            Reason.STORE_UNAVAILABLE, f"{self.hostname}: the registry answers {response.status_code}{said}"
        )

    def no_answer(self, error: Exception) -> UnavailableError:
        """Return the error for a registry that does not answer, or stops in the middle."""
        return UnavailableError(Reason.STORE_UNAVAILABLE, f"{self.hostname}: no answer: {_cause(error)}")

    def _send(
        self, method: str, url: str, headers: dict[str, str] | None, options: dict[str, Any]
    ) -> requests.Response:
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if self._authorization and urlsplit(url)[:2] == urlsplit(self.url)[:2]:
            sent["Authorization"] = self._authorization
        data = options["data"]

        def attempt(seconds: float) -> requests.Response:
            if data is not None and not isinstance(data, bytes):
                data.seek(0)
            response: requests.Response = self.session.request(
                method, url, headers=sent, timeout=(seconds, _SILENCE_SECONDS), **options
            )
            return response

        return patiently(attempt, _read_again if method in _READS else unreached)

    def _answer(self, response: requests.Response) -> bool:
        """Take the credential that a 401 asks for. False where there is none, or it was just refused."""
        if urlsplit(response.url)[:2] != urlsplit(self.url)[:2]:
            return False
        challenge = response.headers.get("Www-Authenticate", "")
        before, login = self._authorization, self.login()
        if challenge.lower().startswith("basic") and login:
            self._authorization = f"Basic {oras.auth.utils.get_basic_auth(*login)}"
            return self._authorization != before
        if challenge.lower().startswith("bearer"):
            challenged = oras.auth.utils.parse_auth_header(challenge)
            if not challenged.realm or not challenged.realm.startswith(("https://", f"{self.prefix}://")):
                return False
            if login:
                self.auth.set_basic_auth(*login)
            request = self.auth.request_token if login else self.auth.request_anonymous_token
            token = patiently(lambda _: request(challenged), _read_again)
            self._authorization = f"Bearer {token}" if token else None
            return bool(token)
        return False


def _read_again(error: Exception) -> bool:
    return unreached(error) or reset(error)


def speaks_plain_http(host: str, plain_http_registry: str | None) -> bool:
    """Whether a registry is spoken to without TLS: loopback, and the one that the operator names."""
    if host == plain_http_registry:
        return True
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class _Unchanged(requests.auth.AuthBase):
    """Keeps requests from replacing our Authorization header by one of a .netrc file."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Limited(requests.adapters.HTTPAdapter):
    """Gives each request a time limit."""

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Send a request."""
        return super().send(request, **{**options, "timeout": options.get("timeout") or _DEFAULT_SECONDS})


def _said(response: requests.Response) -> str:
    """Return what the registry says about an error, as `, CODE: message`, or nothing."""
    try:
        first = response.json()["errors"][0]
        return f", {first['code']}: {' '.join(str(first.get('message', '')).split())[:200]}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, requests.RequestException):
        return ""


def _cause(error: BaseException) -> str:
    """Return the innermost cause that a person understands, such as `Connection refused`."""
    current: BaseException | None = error
    found = ""
    while current is not None:
        if isinstance(current, OSError) and current.strerror:
            found = current.strerror
        current = current.__cause__ or current.__context__
    if isinstance(error, requests.exceptions.SSLError):
        return f"TLS: {found or 'handshake failed'}"
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return "timed out"
    return found or type(error).__name__
