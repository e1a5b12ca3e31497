"""A TLS proxy before an API server, for faults of the network: by kind of object and verb, while they last.

A `Tap` decides on single requests and single events of watches.

A client is given `kubeconfig`; what goes through is HTTP/1.1, which is what the operator speaks.
"""

import asyncio
import json
import ssl
import threading
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import yaml
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from tests.support.cluster.controlplane import ControlPlane

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length"})
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Kind(Enum):
    """What happens to a request."""

    SILENT = "nothing of the answer's body comes any more, and the connection stays: half-open"
    DROP = "what of the answer's body comes meanwhile is lost, such as events of a watch"
    DELAY = "it arrives later"
    CUT = "the connection ends without an answer"
    REFUSE = "the answer is an error"
    TELL = "the next event of a watch is an error, and the watch ends"
    GARBLE = "the next event of a watch is no JSON, and the watch ends"


@dataclass(frozen=True)
class Fault:
    """A fault of all requests about a kind of object."""

    plural: str
    verb: str  # of RBAC: get, list, watch, create, update, patch, delete
    kind: Kind
    seconds: float = 0  # of a delay
    code: int = 500  # of an error


class Moment(Enum):
    """How far a request has come."""

    BEFORE = "the API server has not seen it"
    UNANSWERED = "the API server has answered, the client does not know"
    ANSWERED = "the client has the whole answer"


@dataclass(frozen=True)
class Call:
    """A request, in RBAC's words."""

    plural: str
    verb: str
    namespace: str
    writes: bool  # it is to change something: no dry run
    code: int = 0  # of the answer


class Tap:
    """What a test does with what passes: nothing. Its methods are called in the proxy's thread."""

    def passes(self, call: Call, moment: Moment) -> bool:
        """Return whether a request goes on; its connection is cut otherwise."""
        return True

    def events(self, plural: str, line: bytes) -> Iterable[bytes]:
        """Return what the client sees of an event of a watch."""
        return (line,)


class ApiProxy:
    """Runs in a thread of its own; `fault` may be used from any thread."""

    def __init__(self, control_plane: ControlPlane, folder: Path, tap: Tap | None = None) -> None:
        self._upstream = control_plane.server
        self._authority = control_plane.authority
        self._folder = folder
        self._tap = tap or Tap()
        self._faults: tuple[Fault, ...] = ()
        self._watches: dict[str, set[asyncio.Transport]] = {}  # by verb and kind of object
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api-proxy", daemon=True)
        self._port = 0

    def __enter__(self) -> "ApiProxy":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def kubeconfig(self, original: Path) -> Path:
        """Return a kubeconfig like another, whose way leads through the proxy."""
        body = yaml.safe_load(original.read_text())
        for entry in body["clusters"]:
            entry["cluster"]["server"] = f"https://127.0.0.1:{self._port}"
        path = self._folder / f"{original.stem}-by-proxy.kubeconfig"
        path.write_text(yaml.safe_dump(body))
        return path

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        """Let a fault last for a block; a connection that has become silent stays so."""
        self._faults = (*self._faults, fault)
        try:
            yield
        finally:
            self._faults = tuple(each for each in self._faults if each is not fault)

    def reset_watches(self, plural: str) -> None:
        """End the connections on which a kind of objects is watched."""
        for transport in tuple(self._watches.get(f"watch {plural}", ())):
            self._loop.call_soon_threadsafe(transport.abort)

    def _fault(self, plural: str, verb: str, *kinds: Kind) -> Fault | None:
        found = (each for each in self._faults if each.kind in kinds)
        return next((each for each in found if (each.plural, each.verb) == (plural, verb)), None)

    async def _start(self) -> None:
        trusted = ssl.create_default_context(cafile=str(self._authority.certificate))
        self._session = ClientSession(
            connector=TCPConnector(limit=0, ssl=trusted),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
        )
        served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        name = f"api-proxy-{uuid.uuid4().hex[:8]}"  # several may start at once
        served.load_cert_chain(*map(str, self._authority.server(name, ["127.0.0.1"])))
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._forward)
        # a handler ends when its client leaves
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=served)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        call = _call(request)
        plural, verb = call.plural, call.verb
        if self._fault(plural, verb, Kind.CUT) or not self._tap.passes(call, Moment.BEFORE):
            return _cut(request)
        refusal = self._fault(plural, verb, Kind.REFUSE)
        if refusal:
            return web.json_response(_status(refusal.code), status=refusal.code)
        delay = self._fault(plural, verb, Kind.DELAY)
        if delay:
            await asyncio.sleep(delay.seconds)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            data=await request.read() or None,
            headers=headers,
            skip_auto_headers=["Accept-Encoding", "Content-Type", "User-Agent"],
        ) as answer:
            call = replace(call, code=answer.status)
            if not self._tap.passes(call, Moment.UNANSWERED):
                return _cut(request)
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            with self._listed_as(plural, verb, request):
                async for chunk in self._chunks(call, answer):
                    if self._fault(plural, verb, Kind.SILENT):
                        await asyncio.Event().wait()  # until the client or the proxy ends it
                    last = self._fault(plural, verb, Kind.TELL, Kind.GARBLE)
                    if last:
                        await response.write(_last_words(last))
                        break
                    if not self._fault(plural, verb, Kind.DROP):
                        await response.write(chunk)
                await response.write_eof()
            self._tap.passes(call, Moment.ANSWERED)
            return response

    async def _chunks(self, call: Call, answer: ClientResponse) -> AsyncIterator[bytes]:
        """Yield an answer as it comes, that of a watch event by event."""
        rest = b""
        async for chunk in answer.content.iter_any():
            if call.verb != "watch":
                yield chunk
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                for told in self._tap.events(call.plural, line):
                    yield told + b"\n"
        if rest:
            yield rest

    @contextmanager
    def _listed_as(self, plural: str, verb: str, request: web.Request) -> Iterator[None]:
        assert request.transport is not None
        transport, kept = request.transport, self._watches.setdefault(f"{verb} {plural}", set())
        kept.add(transport)
        try:
            yield
        finally:
            kept.discard(transport)


def _call(request: web.Request) -> Call:
    plural, verb = described(request.method, request.path, watches="watch" in request.query)
    _, _, within = request.path.partition("/namespaces/")
    return Call(
        plural, verb, within.partition("/")[0], request.method in _VERBS and "dryRun" not in request.query
    )


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response(status=502)


def _status(code: int) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "message": "by the proxy",
    }


def _last_words(fault: Fault) -> bytes:
    if fault.kind is Kind.GARBLE:
        return b'{"type": "MODIFIED", "object": {"metadata"\n'
    return json.dumps({"type": "ERROR", "object": _status(fault.code)}).encode() + b"\n"


def described(method: str, path: str, *, watches: bool) -> tuple[str, str]:
    """Return the kind of objects and the verb of a request; of a subresource as in pods/status."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if len(rest) >= 3 and rest[0] == "namespaces":
        rest = rest[2:]
    plural = "/".join(rest[:1] + rest[2:])
    if method in _VERBS:
        return plural, _VERBS[method]
    return plural, "get" if len(rest) > 1 else "watch" if watches else "list"
