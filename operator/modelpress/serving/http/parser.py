"""From bytes to the heads, bodies and ends of requests: httptools' parser, within limits of a head's size.

What asks for another protocol is not seen: such a request is answered in this one (RFC 9110, section 7.8).
"""

import re
from dataclasses import dataclass
from typing import Any, Protocol

import httptools

from modelpress.serving.errors import BadRequest, HeadTooLarge, Misdirected, RequestError, WrongMethod
from modelpress.serving.http.connections import ConnectionLimits

Headers = dict[bytes, bytes]  # by name in lower case; lines of one name are joined by commas

# RFC 3986's host and port, roughly, and the names of this machine among them
_HOST = re.compile(rb"[ \t]*[^\s/?#@,\\]*[ \t]*")
_LOCAL = re.compile(
    rb"[ \t]*(?:127(?:\.\d{1,3}){3}|(?:[a-z0-9-]+\.)*localhost\.?|\[::1\])?(?::\d*)?[ \t]*", re.IGNORECASE
)


@dataclass(slots=True)  # frozen would take three times as long to make
class Head:
    """What a request begins with, beside its headers."""

    method: bytes
    url: bytes
    is_newest: bool  # HTTP/1.1
    keep_alive: bool  # the connection, after the answer


class Events(Protocol):
    """What a parser reports to. `head_ended` may raise a RequestError, which ends the parsing."""

    def head_begun(self) -> None:
        """Note the first byte of a request."""

    def head_ended(self, head: Head, headers: Headers) -> None:
        """Take a head."""

    def body_came(self, part: bytes) -> None:
        """Take a part of the body."""

    def message_ended(self) -> None:
        """Note that the body has come to its end."""


class Parser:
    """Reads the requests of one connection."""

    def __init__(self, events: Events, limits: ConnectionLimits, is_local: bool) -> None:
        self._events: Any = events
        self._limits = limits
        self._is_local = is_local
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: Headers = {}
        self._repeated = 0  # lines whose name had come before
        self._version = ""
        self._in_head = False
        self._chunk_bytes = 0  # the size of the data given last
        self._head_start = 0  # the size of the data in which the newest head began
        self._bytes_since_event = 0  # bytes that have led to no event yet
        self._upgrading = False  # whether the newest head asks for another protocol

    def feed(self, data: memoryview) -> None:
        """Parse what came. Raises the RequestError that says what is wrong with it."""
        self._chunk_bytes = len(data)
        self._bytes_since_event += len(data)
        try:
            while data:
                try:
                    self._parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    data = data[upgrade.args[0] :]
                    self._parse_without_upgrade()
        except httptools.HttpParserError as error:
            raise _reason(error) from None
        if self._bytes_since_event > self._limits.head_bytes or (
            len(self._headers) + self._repeated > self._limits.headers
        ):
            raise self._too_much()

    def skip_body(self) -> None:
        """Begin anew after a body that somebody else received."""
        self._parser = httptools.HttpRequestParser(self)

    def broken_head(self) -> tuple[bytes, bytes, Headers]:
        """Return method, URL and headers of a head that is incomplete or was refused, as far as they came."""
        if not self._in_head or self._parser is None or not self._url:
            return b"", b"", {}
        return self._parser.get_method(), self._url, self._headers

    def close(self) -> None:
        """Parse nothing more."""
        self._parser = self._events = None  # they refer to this, and this to them

    def _parse_without_upgrade(self) -> None:
        """Parse the newest head again, as if it asked for no other protocol.

        The parser takes what follows such a head for the other protocol, be it the body.
        """
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, self._version.encode())]
        lines += [b"%b: %b" % header for header in self._headers.items() if header[0] != b"upgrade"]
        self._upgrading = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")

    # callbacks of httptools

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        self._bytes_since_event = 0
        self._head_start = self._chunk_bytes
        self._url = b""
        self._headers, self._repeated = {}, 0
        self._in_head = True
        self._events.head_begun()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or what follows a chunked body, which nobody reads."""
        name, headers = name.lower(), self._headers
        if name in headers:
            self._repeated += 1
            value = b"%b, %b" % (headers[name], value)
        headers[name] = value

    def on_headers_complete(self) -> None:
        """Check the head, and tell of it. Raises RequestError, which stops the parser."""
        parser = self._parser
        self._version = version = parser.get_http_version()
        self._check(version)
        method = parser.get_method()
        if parser.should_upgrade():
            if method == b"CONNECT":
                raise WrongMethod("this is no proxy: it takes GET, HEAD and POST", "GET, HEAD, POST")
            self._upgrading = True
            return
        is_newest = version == "1.1"
        keep_alive = is_newest and parser.should_keep_alive()
        self._events.head_ended(Head(method, self._url, is_newest, keep_alive), self._headers)
        self._headers, self._repeated = {}, 0
        self._bytes_since_event = 0
        self._in_head = False

    def on_body(self, part: bytes) -> None:
        """Pass on a part of the body."""
        self._bytes_since_event = 0
        self._events.body_came(part)

    def on_message_complete(self) -> None:
        """Pass on the end of a request."""
        if not self._upgrading:
            self._events.message_ended()

    # limits

    def _check(self, version: str) -> None:
        """Raise a RequestError for a head with too much in it, or for another host."""
        limits = self._limits
        # a head that came in few bytes has few
        most = self._head_start + self._bytes_since_event
        if len(self._headers) + self._repeated > limits.headers or (
            most > limits.head_bytes and self._bytes() > limits.head_bytes
        ):
            raise self._too_much()
        if version == "1.1":
            _check_host(self._headers.get(b"host"), self._is_local)

    def _bytes(self) -> int:
        return len(self._url) + sum(len(name) + len(value) for name, value in self._headers.items())

    def _too_much(self) -> HeadTooLarge:
        limits = self._limits
        return HeadTooLarge(f"the head has more than {limits.headers} headers or {limits.head_bytes} bytes")


def _check_host(host: bytes | None, is_local: bool) -> None:
    """Refuse a request of HTTP/1.1 that does not name one host (RFC 9112, section 3.2).

    Where only this machine reaches us, the name must be one of its own: a page in a browser may have any
    other name resolved to it.
    """
    if host is not None and (_LOCAL if is_local else _HOST).fullmatch(host):
        return
    shown = "none" if host is None else repr(host[:80].decode("latin-1"))
    if host is None or not _HOST.fullmatch(host):
        raise BadRequest(f"the request must have one Host header with a host's name, not {shown}")
    raise Misdirected(f"the Host is {shown}; this worker is localhost, 127.0.0.1 or [::1]")


def _reason(error: httptools.HttpParserError) -> RequestError:
    """Return what the parser, or a callback in it, refused.

    A variable of the parser's caller would close a circle through its frame, which only the garbage collector
    ends: each refused connection would stay for a while.
    """
    refused = error.__context__
    return refused if isinstance(refused, RequestError) else BadRequest("the request is not valid HTTP")
