"""What the application needs of ASGI: reads a body within limits, answers, notices who left."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from modelpress.serving.errors import BadRequest, Overloaded, TooLarge, TooSlow, UnsupportedEncoding

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
# A caller is watched for leaving only if its answer takes longer than this: watching costs a task.
_WATCH_AFTER_SECONDS = 0.05
# How long a refused sender may go on sending before it is cut off, so that it reads the refusal first.
_LINGER_SECONDS = 2.0


class ClientGone(Exception):
    """The caller closed the connection."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class BodyReader:
    """Reads bodies up to a size, within a time, and within a budget for all that arrive at once."""

    def __init__(self, max_bytes: int, max_total_bytes: int, timeout_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._timeout_seconds = timeout_seconds
        self._held = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes | bytearray:
        """Return the body. Raises ClientGone, TooLarge, TooSlow, Overloaded or UnsupportedEncoding."""
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._max_bytes:
                raise self._too_large()
            if name == b"content-encoding" and value.lower() != b"identity":
                raise UnsupportedEncoding("compressed bodies are not supported; send plain JSON")
            if name == b"inference-header-content-length":
                raise BadRequest("the binary tensor extension is not supported; send JSON tensors")
        message = await self._next(receive)
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._max_bytes:
                raise self._too_large()
            return body
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._collect(message, receive)
        except TimeoutError as error:
            raise TooSlow(f"the body did not arrive within {self._timeout_seconds:g} seconds") from error

    async def _collect(self, message: Message, receive: Receive) -> bytearray:
        body = bytearray()
        try:
            while True:
                chunk = message.get("body", b"")
                body += chunk
                self._held += len(chunk)
                if len(body) > self._max_bytes:
                    raise self._too_large()
                if self._held > self._max_total_bytes:
                    raise Overloaded("too many large requests arrive at once; try again later")
                if not message.get("more_body"):
                    return body
                message = await self._next(receive)
        finally:
            self._held -= len(body)

    @staticmethod
    async def _next(receive: Receive) -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than maxRequestBytes, which is {self._max_bytes}")


async def respond(send: Send, response: Response, close: bool) -> None:
    """Send an answer; `close` ends the connection after it."""
    await send(_head(response, close))
    await send({"type": "http.response.body", "body": response.body})


async def refuse_body(receive: Receive, send: Send, response: Response) -> None:
    """Answer a request whose body was not read to its end, then close the connection.

    Closing at once would reset it, and the sender might never see the answer: the rest is read and thrown
    away for a while first.
    """
    await send(_head(response, close=True))
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
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
