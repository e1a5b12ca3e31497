"""Frames of HTTP/2 (RFC 9113 sections 4 and 6): from bytes to values and back. Pure functions."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = struct.Struct(">HBBBI")  # length (16 and 8 bits), kind, flags, stream
HEADER_BYTES = HEADER.size
DEFAULT_FRAME_BYTES = 16_384  # of a frame's payload; also the largest that is taken
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
MAX_STREAM = 2**31 - 1

# kinds
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
# flags
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

_UINT32 = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
_GOAWAY = struct.Struct(">II")
_PRIORITY_BYTES = 5
PING_BYTES = GOAWAY_BYTES = 8  # of a PING; at least of a GOAWAY
_FRAME_BYTES = range(DEFAULT_FRAME_BYTES, 2**24)


class Code(IntEnum):
    """Error codes (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    """Settings (section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(Exception):
    """The peer broke a rule or a limit: the connection ends with GOAWAY and this code."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFault(Exception):
    """The same for one stream, which ends with RST_STREAM."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    size = len(payload)
    return HEADER.pack(size >> 8, size & 255, kind, flags, stream) + payload


def window_update(stream: int, size: int) -> bytes:
    """Return the frame that lets the peer send `size` bytes more; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, _UINT32.pack(size))


def rst_stream(stream: int, code: Code) -> bytes:
    """Return the frame that ends a stream."""
    return frame(RST_STREAM, 0, stream, _UINT32.pack(code))


def goaway(last: int, code: Code, reason: str = "") -> bytes:
    """Return the frame that ends a connection; streams after `last` were not looked at."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last, code) + reason.encode())


def settings(values: dict[Setting, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def uint32(payload: bytes) -> int:
    """Return the number that is all of a payload. Raises ConnectionFault where it is anything else."""
    if len(payload) != _UINT32.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, "the frame must have 4 bytes")
    return int(_UINT32.unpack(payload)[0])


def settings_of(payload: bytes) -> dict[int, int]:
    """Return the settings in a frame, of equal ones the last. Raises ConnectionFault."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS must have 6 bytes for each setting")
    found = {}
    for key, value in _SETTING.iter_unpack(payload):
        if key == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH must be 0 or 1")
        if key == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if key == Setting.MAX_FRAME_SIZE and value not in _FRAME_BYTES:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of its range")
        found[key] = value
    return found


def unpadded(payload: bytes, flags: int) -> bytes:
    """Return a payload without its padding. Raises ConnectionFault."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, "the length of the padding is missing")
    if payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "the padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]


def block_of(payload: bytes, flags: int, stream: int) -> bytes:
    """Return the header block fragment of a HEADERS frame; priorities are ignored. Raises ConnectionFault."""
    payload = unpadded(payload, flags)
    if not flags & PRIORITIZED:
        return payload
    if len(payload) < _PRIORITY_BYTES:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, "the priority is missing")
    if _UINT32.unpack_from(payload)[0] & MAX_STREAM == stream:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream cannot depend on itself")
    return payload[_PRIORITY_BYTES:]


def check_priority(payload: bytes, stream: int) -> None:
    """Check a PRIORITY frame, which means nothing any more (section 5.3.2). Raises StreamFault."""
    if len(payload) != _PRIORITY_BYTES:
        raise StreamFault(Code.FRAME_SIZE_ERROR)
    if _UINT32.unpack_from(payload)[0] & MAX_STREAM == stream:
        raise StreamFault(Code.PROTOCOL_ERROR)
