"""How gRPC says that a call has failed (statuscodes.md in github.com/grpc/grpc). Pure functions."""

import grpc

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

MAX_DETAILS = 2048  # characters of a message

_CODES: dict[type[RequestError], grpc.StatusCode] = {
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # as grpc itself answers to a message above its limit
    UnsupportedEncoding: grpc.StatusCode.UNIMPLEMENTED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: RequestError) -> grpc.StatusCode:
    """Return the code; a fault of the model, and classes that only HTTP knows, are internal errors."""
    return _CODES.get(type(error), grpc.StatusCode.INTERNAL)
