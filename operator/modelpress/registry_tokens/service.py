"""Answers GET /token?service=SERVICE&scope=SCOPE with a token for the registry."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from modelpress.controllers.rest import load_configuration
from modelpress.registry_tokens.access import Rule, namespace_of
from modelpress.registry_tokens.signing import SECONDS, Signer, kept_key
from modelpress.sockets import EVERY_ADDRESS, bound

logger = logging.getLogger(__name__)

_REVIEW_SECONDS = 10
# of a token, the namespace whose ServiceAccount it is, or None; raises HTTPError and ApiException
Review = Callable[[str], str | None]


@dataclass(frozen=True)
class Options:
    """Options of `modelpress registry-tokens`."""

    audience: str  # of ServiceAccount tokens, and the registry's name for itself
    root: str  # repositories are ROOT/NAMESPACE
    key: Path
    jwks: Path
    port: int
    anonymous_pull: bool = False


def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    api = client.AuthenticationV1Api(client.ApiClient(load_configuration()))
    rule = Rule(options.root, options.anonymous_pull)
    signer = Signer(kept_key(options.key, options.jwks), options.audience)
    service = TokenService(rule, signer, reviewer(api, options.audience))
    logger.info("registry tokens", extra={"port": options.port, "root": options.root})
    web.run_app(service.application(), sock=bound(EVERY_ADDRESS, options.port), access_log=None, print=None)
    return 0


def reviewer(api: client.AuthenticationV1Api, audience: str) -> Review:
    """Return what asks the API server whose a token is."""

    def review(token: str) -> str | None:
        spec = client.V1TokenReviewSpec(token=token, audiences=[audience])
        asked = client.V1TokenReview(spec=spec)
        status = api.create_token_review(asked, _request_timeout=_REVIEW_SECONDS).status
        # a server that knows no audiences names none
        if not status or not status.authenticated or audience not in (status.audiences or ()):
            return None
        return namespace_of(status.user.username or "") if status.user else None

    return review


class TokenService:
    """The pages of the service."""

    def __init__(self, rule: Rule, signer: Signer, review: Review) -> None:
        self._rule = rule
        self._signer = signer
        self._review = review

    def application(self) -> web.Application:
        """Return what aiohttp serves."""
        made = web.Application()
        made.router.add_get("/token", self._token)
        made.router.add_get("/healthz", self._health)
        return made

    async def _token(self, request: web.Request) -> web.Response:
        given = _password(request.headers.get("Authorization"))
        try:
            namespace = await asyncio.to_thread(self._review, given) if given else None
        except (ApiException, HTTPError) as error:
            logger.warning("the API server does not say whose a token is: %s", error)
            return _error(503, "UNAVAILABLE", "the API server does not say whose the token is")
        if namespace is None and (given or not self._rule.anonymous_pull):
            problem = "the password is no ServiceAccount token for this registry" if given else "no password"
            logger.info("refused: %s", problem)
            return _error(401, "UNAUTHORIZED", problem)
        access = self._rule.granted(request.query.getall("scope", []), namespace)
        token = self._signer.token(namespace or "anonymous", access)
        return web.json_response({"token": token, "access_token": token, "expires_in": SECONDS})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"ready": True})


def _password(header: str | None) -> str | None:
    """Return the password of an Authorization header, or None; what cannot be read is no token."""
    if header is None:
        return None
    try:
        return aiohttp.BasicAuth.decode(header).password or None
    except ValueError:
        return "unreadable"


def _error(status: int, code: str, message: str) -> web.Response:
    body = {"errors": [{"code": code, "message": message}]}
    headers = {"WWW-Authenticate": 'Basic realm="registry"'} if status == 401 else {}
    return web.json_response(body, status=status, headers=headers)
