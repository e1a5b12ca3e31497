"""The head of a gRPC request: RFC 9113 section 8 and gRPC's PROTOCOL-HTTP2.md. Pure functions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelpress.serving.access import OBSERVED
from modelpress.serving.errors import BadRequest, RequestError
from modelpress.serving.protocols.grpc.limits import Http2Limits
from modelpress.serving.protocols.json_tensors import echo

Field = tuple[bytes, bytes]

OK, WRONG_METHOD, WRONG_TYPE, TOO_MANY_HEADERS = 200, 405, 415, 431  # of HTTP
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_NEEDED = (b":method", b":scheme", b":path")
# Of HTTP/1 connections: a request that has one was not made for HTTP/2 (section 8.2.2).
_CONNECTION = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]$")
_TYPE = re.compile(rb"application/grpc(\+proto)?([ \t]*;.*)?", re.IGNORECASE)
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_DIGITS = 18  # of a length
_FIELD_BYTES = 32  # that a field counts beside its own (section 6.5.2)


@dataclass(slots=True)
class RequestHead:
    """A request without its body; shared by all requests with the same header block."""

    fields: Sequence[Field] = ()
    malformed: bool = False  # the stream is reset
    status: int = OK  # of HTTP: any other is the answer
    path: str = ""
    encoding: str = "identity"  # of messages that say that they are compressed
    timeout: float | None = None  # seconds
    length: int | None = None  # of the body, where it is stated
    error: RequestError | None = None  # that gRPC answers with
    observed: bool = False  # a trace comes with it


def read_head(fields: Sequence[Field], limits: Http2Limits) -> RequestHead:
    """Return the head in the fields of a header block."""
    size = sum(len(name) + len(value) + _FIELD_BYTES for name, value in fields)
    if len(fields) > limits.headers or size > limits.header_bytes:
        return RequestHead(status=TOO_MANY_HEADERS)
    pseudo = pseudo_fields(fields)
    if pseudo is None or not well_formed(fields[len(pseudo) :]):
        return RequestHead(malformed=True)
    head = RequestHead(fields, path=pseudo[b":path"].decode("latin-1"))
    if pseudo[b":method"] != b"POST":
        head.status = WRONG_METHOD
    else:
        _read(head, fields[len(pseudo) :])
    return head


def pseudo_fields(fields: Sequence[Field]) -> dict[bytes, bytes] | None:
    """Return the fields before the first regular one; None where one is missing, unknown or repeated."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            break
        if name not in _PSEUDO or name in found or _BAD_VALUE.search(value):
            return None
        found[name] = value
    return found if all(found.get(name) for name in _NEEDED) else None


def well_formed(fields: Sequence[Field]) -> bool:
    """Whether regular fields, or those after a body, are allowed in HTTP/2 (sections 8.2 and 8.3)."""
    return all(
        _NAME.fullmatch(name)
        and name not in _CONNECTION
        and not _BAD_VALUE.search(value)
        and (name != b"te" or value == b"trailers")
        for name, value in fields
    )


def _read(head: RequestHead, fields: Sequence[Field]) -> None:
    """Take what gRPC knows from the regular fields."""
    head.status = WRONG_TYPE
    for name, value in fields:
        if name == b"content-type":
            head.status = OK if _TYPE.fullmatch(value) else WRONG_TYPE
        elif name == b"grpc-encoding":
            head.encoding = value.decode("latin-1")
        elif name == b"grpc-timeout":
            match = _TIMEOUT.fullmatch(value)
            if match is None:
                head.error = BadRequest(f"grpc-timeout is {echo(value.decode('latin-1'))}, which is no time")
            else:
                head.timeout = int(match[1]) * _SECONDS[match[2]]
        elif name == b"content-length":
            if not value.isdigit() or len(value) > _MAX_DIGITS or head.length not in (None, int(value)):
                head.malformed = True
                return
            head.length = int(value)
        elif name in OBSERVED:
            head.observed = True
