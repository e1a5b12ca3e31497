"""How gRPC says that a call has succeeded or failed (PROTOCOL-HTTP2.md, statuscodes.md). Pure functions."""

from enum import IntEnum
from urllib.parse import quote

from modelpress.serving.errors import (
    BadRequest,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    RequestError,
    TooLarge,
    TooSlow,
    Unavailable,
    Unimplemented,
    UnsupportedEncoding,
)
from modelpress.serving.protocols.grpc.head import Field
from modelpress.serving.protocols.grpc.headers import block

ACCEPTED = b"identity,gzip,deflate"  # encodings of messages
_MAX_MESSAGE = 2048  # characters; each may take nine bytes
_UNQUOTED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class Status(IntEnum):
    """Those codes of gRPC that a worker sends."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


_CODES: dict[type[RequestError], Status] = {
    BadRequest: Status.INVALID_ARGUMENT,
    NotFound: Status.NOT_FOUND,
    TooLarge: Status.RESOURCE_EXHAUSTED,  # as grpc itself answers to a message above its limit
    UnsupportedEncoding: Status.UNIMPLEMENTED,
    Overloaded: Status.RESOURCE_EXHAUSTED,
    TooSlow: Status.DEADLINE_EXCEEDED,
    Unimplemented: Status.UNIMPLEMENTED,
    Unavailable: Status.UNAVAILABLE,
    DeadlineExceeded: Status.DEADLINE_EXCEEDED,
}
_HEAD: tuple[Field, ...] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", ACCEPTED),
)
HEAD = block(_HEAD)  # of an answer with a message
TRAILERS = block([(b"grpc-status", b"%d" % Status.OK)])


def code_of(error: RequestError) -> Status:
    """Return the code; a fault of the model, and classes that only HTTP knows, are internal errors."""
    return _CODES.get(type(error), Status.INTERNAL)


def failure(code: Status, message: str, more: list[Field]) -> bytes:
    """Return the header block of an answer without a message; `more` are fields of it."""
    status = [(b"grpc-status", b"%d" % code), (b"grpc-message", quoted(message))]
    return block([*_HEAD, *status, *more])


def http_failure(status: int) -> bytes:
    """Return the header block of an answer to what is no gRPC request."""
    return block([(b":status", b"%d" % status), (b"content-length", b"0")])


def quoted(message: str) -> bytes:
    """Return a message as it goes into a field: UTF-8, all but printable ASCII percent-encoded."""
    return quote(message[:_MAX_MESSAGE], safe=_UNQUOTED, errors="replace").encode()
