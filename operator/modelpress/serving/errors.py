"""What a client gets when a request is not answered: a status code of HTTP and one line.

    RequestError
    |- BadRequest          400   the request is wrong
    |- NotFound            404   no such model, version or path
    |- WrongMethod         405   the path knows other methods
    |- TooSlow             408   the body did not arrive in time
    |- TooLarge            413   more bytes or rows than are accepted
    |- UnsupportedEncoding 415   the body has an encoding that is not accepted
    |- Misdirected         421   the request names a host that this worker is not
    |- Overloaded          429   the queue is full: try again later
    |- HeadTooLarge        431   the head has too many headers or bytes
    |- InternalError       500   a fault of ours, whose details are in the log
    |- ModelFault          500   the model's outputs are not one entry for each row
    |- Unimplemented       501   gRPC: no such method, or not what it takes
    |- Unavailable         503   the worker is not ready: it loads its model, or ends
    `- DeadlineExceeded    504   the answer took longer than requestTimeoutSeconds

Other protocols map the classes to their own codes. Messages show no internals.
"""

from typing import ClassVar

CLIENT_CLOSED_REQUEST = 499  # nginx's code for a caller that left; in metrics and the access log only


class RequestError(Exception):
    """Base of the tree; raise one of the leaves."""

    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(RequestError):
    """The request is wrong."""

    status = 400


class NotFound(RequestError):
    """No such model, version or path."""

    status = 404


class WrongMethod(RequestError):
    """The path knows other methods."""

    status = 405

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class TooSlow(RequestError):
    """The body did not arrive in time."""

    status = 408


class TooLarge(RequestError):
    """More bytes or rows than are accepted."""

    status = 413


class UnsupportedEncoding(RequestError):
    """The body has an encoding that is not accepted."""

    status = 415


class Misdirected(RequestError):
    """The request names a host that this worker is not."""

    status = 421


class Overloaded(RequestError):
    """The queue is full."""

    status = 429


class HeadTooLarge(RequestError):
    """The head has too many headers or bytes."""

    status = 431


class InternalError(RequestError):
    """A fault of ours."""

    status = 500


class ModelFault(RequestError):
    """What the model computed is no answer."""

    status = 500


class Unimplemented(RequestError):
    """There is no such method of gRPC, or it is not called as it must be."""

    status = 501


class Unavailable(RequestError):
    """The worker is not ready: it loads its model, or ends."""

    status = 503


class DeadlineExceeded(RequestError):
    """The answer took too long."""

    status = 504
