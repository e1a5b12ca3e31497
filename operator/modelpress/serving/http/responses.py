"""Answers of HTTP/1.1 as bytes. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from modelpress.serving.errors import Overloaded, RequestError, Unavailable, WrongMethod
from modelpress.serving.http.encodings import compress
from modelpress.serving.protocols.base import Encoded
from modelpress.serving.protocols.json_tensors import dump

JSON = b"application/json"
BINARY = b"application/octet-stream"
JSON_LENGTH = b"inference-header-content-length"  # a header of the binary tensor extension
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RETRY_AFTER_SECONDS = b"1"
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
_STARTS = {code: f"HTTP/1.1 {code} {phrase}\r\n".encode() for code, phrase in _PHRASES.items()}

Header = tuple[bytes, bytes]


@dataclass(slots=True)  # frozen would take three times as long to make
class Response:
    """A whole answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Sequence[Header] = ()

    def head(self, date: bytes, close: bool) -> bytes:
        """Return the bytes before the body; `date` is a header's line, `close` ends the connection."""
        lines = b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n" % (
            _STARTS[self.status],
            date,
            self.content_type,
            len(self.body),
        )
        if self.headers:
            lines += b"".join([b"%b: %b\r\n" % header for header in self.headers])
        return lines + (b"connection: close\r\n\r\n" if close else b"\r\n")

    def compressed(self, encoding: str) -> "Response":
        """Return it in an encoding that the client takes."""
        headers = [*self.headers, (b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]
        return Response(self.status, compress(self.body, encoding), self.content_type, headers)


def of_json(status: int, value: Any) -> Response:
    """Return an answer of JSON."""
    return Response(status, dump(value))


def success(answer: Encoded) -> Response:
    """Return the answer with the outputs."""
    body = b"".join(answer.parts)
    if answer.json_length is None:
        return Response(200, body)
    return Response(200, body, BINARY, [(JSON_LENGTH, str(answer.json_length).encode())])


def failure(error: RequestError) -> Response:
    """Return the error answer; all protocols have the same form of it."""
    headers = []
    if isinstance(error, Overloaded | Unavailable):
        headers.append((b"retry-after", _RETRY_AFTER_SECONDS))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allowed.encode()))
    return Response(error.status, dump({"error": error.message}), headers=headers)
