"""What the application needs of ASGI: reads a body within limits, answers, notices who left."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpress.serving.access import Caller
from modelpress.serving.errors import BadRequest, Overloaded, TooLarge, TooSlow
from modelpress.serving.protocols.encodings import (
    MIN_COMPRESSED_BYTES,
    answer_encoding,
    compress,
    inflate,
    request_encoding,
)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
BINARY = b"application/octet-stream"
JSON_LENGTH = b"inference-header-content-length"  # of the binary tensor extension
BEGUN = "modelpress.begun"  # in a scope's state: when the request began, as time.perf_counter() gives it
# A caller is watched for leaving only if its answer takes longer than this: watching costs a task.
_WATCH_AFTER_SECONDS = 0.05
# How long a refused sender may go on sending before it is cut off, so that it reads the refusal first.
_LINGER_SECONDS = 2.0
# Larger bodies are compressed and decompressed on a thread: they would hold up the loop for milliseconds.
_INFLATE_IN_LOOP_BYTES = 4096  # can expand a thousandfold
_DEFLATE_IN_LOOP_BYTES = 32768
_MAX_DIGITS = 18  # of a length


class ClientGone(Exception):
    """The caller closed the connection."""


@dataclass(slots=True)  # frozen would take three times as long to make
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()


class BodyReader:
    """Reads bodies up to a size, within a time, and within a budget for all that arrive at once.

    Both sizes hold for what arrives; the first also for what it expands to, one body at a time.
    """

    def __init__(self, max_bytes: int, max_total_bytes: int, timeout_seconds: float) -> None:
        self.max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self.timeout_seconds = timeout_seconds
        self.held = 0  # bytes of bodies that arrive
        self._inflating = asyncio.Lock()

    async def read(self, scope: Scope, receive: Receive, begun: float) -> bytes | bytearray:
        """Return the plain body of a request whose head came at `begun`, by time.perf_counter().

        Raises ClientGone, BadRequest, TooLarge, TooSlow, Overloaded or UnsupportedEncoding.
        """
        self._check_length(scope)
        lines = [value for name, value in scope["headers"] if name == b"content-encoding"]
        encoding = request_encoding(b", ".join(lines).decode("latin-1")) if lines else None
        async with self._in_time(begun):
            message = await self._next(receive)
            if message.get("more_body") or encoding is not None:
                return await self._collect(message, receive, encoding)
        body: bytes = message.get("body", b"")
        if len(body) > self.max_bytes:
            raise self._too_large()
        return body

    async def skip(self, scope: Scope, receive: Receive, begun: float) -> None:
        """Read a body that nobody needs, so that the next request begins behind it.

        Raises ClientGone, TooLarge or TooSlow.
        """
        self._check_length(scope)
        size = 0
        async with self._in_time(begun):
            more = True
            while more:
                message = await self._next(receive)
                size += len(message.get("body", b""))
                if size > self.max_bytes:
                    raise self._too_large()
                more = message.get("more_body", False)

    def hold(self, size: int) -> bool:
        """Count bytes of bodies that arrive; returns whether the budget allows them. `release` them later."""
        self.held += size
        return self.held <= self._max_total_bytes

    def release(self, size: int) -> None:
        """Count bytes out that `hold` counted."""
        self.held -= size

    async def _collect(self, message: Message, receive: Receive, encoding: str | None) -> bytes | bytearray:
        body = bytearray()
        try:
            while True:
                chunk = message.get("body", b"")
                body += chunk
                fits = self.hold(len(chunk))
                if len(body) > self.max_bytes:
                    raise self._too_large()
                if not fits:
                    raise Overloaded("too many large requests arrive at once; try again later")
                if not message.get("more_body"):
                    return body if encoding is None else await self.inflate(body, encoding)
                message = await self._next(receive)
        finally:
            self.release(len(body))

    async def inflate(self, body: bytes | bytearray, encoding: str) -> bytes:
        """Return a body without its encoding. Raises BadRequest or TooLarge."""
        if len(body) <= _INFLATE_IN_LOOP_BYTES:
            return inflate(body, encoding, self.max_bytes)
        async with self._inflating:
            return await asyncio.to_thread(inflate, body, encoding, self.max_bytes)

    @contextlib.asynccontextmanager
    async def _in_time(self, begun: float) -> AsyncIterator[None]:
        left = begun + self.timeout_seconds - time.perf_counter()
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError as error:
            raise TooSlow(f"the body did not arrive within {self.timeout_seconds:g} seconds") from error

    def _check_length(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self.max_bytes:
                raise self._too_large()

    @staticmethod
    async def _next(receive: Receive) -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than maxRequestBytes, which is {self.max_bytes}")


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of that name, in lower case, or None."""
    return next((value for key, value in scope["headers"] if key == name), None)


def json_length(scope: Scope) -> int | None:
    """Return where the JSON of a body ends and raw tensors begin, None for JSON alone. Raises BadRequest."""
    value = header(scope, JSON_LENGTH)
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        shown = repr(value[:_MAX_DIGITS].decode("latin-1"))
        raise BadRequest(f"Inference-Header-Content-Length must be an integer of 0 or more, not {shown}")
    return int(value)


async def encoded(scope: Scope, response: Response) -> Response:
    """Return an answer in the encoding that the caller asks for, where it is large enough to be worth it."""
    if len(response.body) < MIN_COMPRESSED_BYTES:
        return response
    accept = header(scope, b"accept-encoding")
    encoding = answer_encoding(accept.decode("latin-1")) if accept else None
    if encoding is None:
        return response
    if len(response.body) <= _DEFLATE_IN_LOOP_BYTES:
        body = compress(response.body, encoding)
    else:
        body = await asyncio.to_thread(compress, response.body, encoding)
    headers = [*response.headers, (b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]
    return Response(response.status, body, response.content_type, headers)


async def respond(send: Send, response: Response, close: bool) -> None:
    """Send an answer; `close` ends the connection after it."""
    await send(_head(response, close))
    await send({"type": "http.response.body", "body": response.body})


def observed(send: Send, caller: Caller) -> Send:
    """Return a `send` that names the caller's trace in the answer and counts its bytes."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *caller.headers()]}
        else:
            caller.sent += len(message["body"])
        await send(message)

    return wrapped


class Incoming:
    """A `receive` that knows whether the body has come to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False

    async def __call__(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        if not message.get("more_body"):
            self.complete = True
        return message


async def refuse_body(send: Send, response: Response) -> None:
    """Answer a request whose body was not read to its end; `linger` must follow."""
    await send(_head(response, close=True))
    await send({"type": "http.response.body", "body": response.body, "more_body": True})


async def linger(receive: Receive, send: Send) -> None:
    """Close the connection after `refuse_body`.

    Closing at once would reset it, and the sender might never see the answer: the rest is read and thrown
    away for a while first.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b""})


def has_body(scope: Scope) -> bool:
    """Whether a body comes with the request."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


async def unless_gone(future: asyncio.Future[Any], receive: Receive) -> Any:
    """Wait for `future`; raises ClientGone when the caller leaves before."""
    loop = asyncio.get_running_loop()
    watchers: list[asyncio.Task[None]] = []

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not future.done():
            future.set_exception(ClientGone())

    timer = loop.call_later(_WATCH_AFTER_SECONDS, lambda: watchers.append(loop.create_task(watch())))
    try:
        return await future
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()


def _head(response: Response, close: bool) -> Message:
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        *response.headers,
    ]
    if close:
        headers.append((b"connection", b"close"))
    return {"type": "http.response.start", "status": response.status, "headers": headers}
