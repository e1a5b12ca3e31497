"""Messages in the bodies of gRPC calls: a byte that says whether it is compressed, a length, the message.

All methods here are unary: a body is one message. Pure functions.
"""

import struct

from modelpress.serving.errors import BadRequest, TooLarge, Unimplemented

_PREFIX = struct.Struct(">BI")
PREFIX_BYTES = _PREFIX.size


def check_start(body: bytes | bytearray, max_bytes: int) -> None:
    """Check a body of which more will come. Raises TooLarge where its message will not be taken."""
    if len(body) >= PREFIX_BYTES:
        size = _PREFIX.unpack_from(body)[1]
        if size > max_bytes:
            raise _too_large(max_bytes)
        if len(body) > PREFIX_BYTES + size:
            raise _more_than_one()


def message_of(body: bytes | bytearray, max_bytes: int) -> tuple[bool, memoryview]:
    """Return whether the message of a whole body is compressed, and the message.

    Raises BadRequest, TooLarge or Unimplemented.
    """
    if not body:
        raise Unimplemented("the call has no message")
    if len(body) < PREFIX_BYTES:
        raise BadRequest("the message ends too early")
    compressed, size = _PREFIX.unpack_from(body)
    if size > max_bytes:
        raise _too_large(max_bytes)
    if len(body) < PREFIX_BYTES + size:
        raise BadRequest("the message ends too early")
    if len(body) > PREFIX_BYTES + size:
        raise _more_than_one()
    if compressed > 1:
        raise BadRequest("the first byte of a message must be 0 or 1")
    return bool(compressed), memoryview(body)[PREFIX_BYTES:]


def body_of(message: bytes) -> bytes:
    """Return the body of an answer."""
    return _PREFIX.pack(0, len(message)) + message


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the message is larger than maxRequestBytes, which is {max_bytes}")


def _more_than_one() -> Unimplemented:
    return Unimplemented("the call has more than one message")
