"""Content encodings of HTTP bodies: gzip and deflate, by the standard library's zlib. Pure functions.

deflate is what RFC 9110 says, the zlib format; raw deflate, which some clients send, is taken as well.
"""

import zlib
from collections.abc import Iterator

from modelpress.serving.errors import BadRequest, TooLarge, UnsupportedEncoding

ENCODINGS = ("gzip", "deflate")  # the server's choice where a client likes both as well
# Smaller answers are sent as they are: compressing them costs more than it saves.
MIN_COMPRESSED_BYTES = 4096
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits
_GZIP_MAGIC = b"\x1f\x8b"  # a member begins with it
_LEVEL = 1  # the lowest of 9: numbers as text shrink to half with it, and to little less with more work
_ZLIB_METHOD = 8
_PIECE = 2**16  # bytes that zlib is given at a time
_FIRST_PIECE = 2**6  # bytes, where a further member of gzip begins; each is twice as large as the one before
_STEP = 2**18  # bytes that it expands at a time
_EXPANSION = 100
_LEAST_EXPANDED = 2**16  # bytes that are accepted however little came


class _TooMuch(Exception):
    """More was expanded than is accepted."""


def request_encoding(header: str) -> str | None:
    """Return the encoding of a body, None where it is plain. Raises UnsupportedEncoding.

    `header` is all Content-Encoding lines of a request, joined by commas (RFC 9110, section 5.3): several
    encodings, one around the other, are not accepted.
    """
    names = [name for part in header.lower().split(",") if (name := part.strip().removeprefix("x-"))]
    name = ", ".join(names)
    if name in ("", "identity"):
        return None
    if name not in ENCODINGS:
        raise UnsupportedEncoding(
            f"content-encoding is {header[:80]!r}; accepted are {', '.join(ENCODINGS)} and identity"
        )
    return name


def answer_encoding(accept: str) -> str | None:
    """Return the encoding that a client's Accept-Encoding likes best, None where that is a plain body."""
    weights = dict(_weights(accept))
    others = weights.get("*", 0.0)
    plain = weights.get("identity", 0.0)
    best = max(ENCODINGS, key=lambda name: weights.get(name, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= plain else None


def inflate(body: bytes | bytearray, encoding: str, max_bytes: int) -> bytes:
    """Return the plain body. Raises TooLarge before more than is accepted is expanded, or BadRequest.

    Accepted are `max_bytes`, and a hundred times what came: numbers do not shrink to less.

    gzip may come in several members one after another (RFC 1952, section 2.2).
    """
    plain = bytearray()
    most = min(max_bytes, max(_LEAST_EXPANDED, _EXPANSION * len(body)))
    gzip = encoding == "gzip"
    try:
        end = _expand(body, 0, _GZIP if gzip else _zlib_bits(body), plain, most)
        while gzip and body.startswith(_GZIP_MAGIC, end):
            end = _expand(body, end, _GZIP, plain, most)
    except _TooMuch as error:
        if most == max_bytes:
            text = f"the decompressed body is larger than maxRequestBytes, which is {max_bytes}"
        else:
            text = f"the body expands more than {_EXPANSION} times; send it with less compression, or plain"
        raise TooLarge(text) from error
    except EOFError as error:
        raise BadRequest(f"the body is not valid {encoding}: it ends too early") from error
    except zlib.error as error:
        raise BadRequest(f"the body is not valid {encoding}") from error
    if end < len(body):
        raise BadRequest(f"the body is not valid {encoding}: bytes follow its end")
    return bytes(plain)


def _expand(body: bytes | bytearray, start: int, bits: int, plain: bytearray, most: int) -> int:
    """Append to `plain` what the stream at `start` holds; return where it ends.

    Raises _TooMuch, zlib.error, or EOFError where the body ends before it. It goes in pieces: zlib copies
    what it has not consumed, which would take quadratic time for a whole body. Those of a further member are
    small at first, for there may be as many members as fit into the body.
    """
    stream = zlib.decompressobj(bits)
    position, size = start, _FIRST_PIECE if start else _PIECE
    while not stream.eof and position < len(body):
        piece: bytes | bytearray = body[position : position + size]
        position += len(piece)
        size = min(2 * size, _PIECE)
        while True:
            plain += stream.decompress(piece, _STEP)
            if len(plain) > most:
                raise _TooMuch
            if stream.eof or not stream.unconsumed_tail:
                break
            piece = stream.unconsumed_tail
    while not stream.eof:  # what zlib has read and not given out yet
        rest = stream.decompress(b"", _STEP)
        if not rest:
            raise EOFError
        plain += rest
        if len(plain) > most:
            raise _TooMuch
    return position - len(stream.unused_data)


def compress(body: bytes, encoding: str) -> bytes:
    """Return the encoded body."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP if encoding == "gzip" else _ZLIB)
    return stream.compress(body) + stream.flush()


def _weights(accept: str) -> Iterator[tuple[str, float]]:
    """Yield each coding of an Accept-Encoding header with its q value; what is malformed counts as q=0."""
    for entry in accept.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = _number(value)
        yield name.removeprefix("x-"), weight


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0


def _zlib_bits(body: bytes | bytearray) -> int:
    """Tell the zlib format from raw deflate by its header: method 8, and a checksum (RFC 1950)."""
    has_header = len(body) > 1 and body[0] & 15 == _ZLIB_METHOD and (body[0] * 256 + body[1]) % 31 == 0
    return _ZLIB if has_header else _RAW
