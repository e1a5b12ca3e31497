"""Which gRPC code a refused request gets."""

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
)

_CODES: dict[type[RequestError], grpc.StatusCode] = {
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # as grpc itself answers to a message above its limit
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: RequestError) -> grpc.StatusCode:
    """Return the code; classes that only HTTP knows are internal errors."""
    return _CODES.get(type(error), grpc.StatusCode.INTERNAL)
