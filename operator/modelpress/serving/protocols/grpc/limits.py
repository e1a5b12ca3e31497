"""What one HTTP/2 connection may take, and how many there may be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Limits that no request can state."""

    connections: int = 1024
    streams: int = 512  # at a time on one connection; more wait in the client
    calls: int = 1024  # at a time on all connections, until they are answered
    block_bytes: int = 16 * 1024  # of a compressed header block
    block_frames: int = 64  # that it comes in
    header_bytes: int = 16 * 1024  # of its fields, as RFC 9113 section 6.5.2 counts them
    headers: int = 100
    stream_window: int = 2**20  # bytes that may be under way to us on one stream
    connection_window: int = 4 * 2**20  # and on all streams of a connection
    noise: int = 2000  # frames that carry no request: PING, SETTINGS, RST_STREAM, empty DATA, ...
    noise_per_second: int = 500  # that are forgiven,
    noise_per_answer: int = 8
    noise_per_refusal: int = 2
    updates: int = 4  # WINDOW_UPDATE of one stream, which clients send for each call
    open_seconds: float = 20.0  # from connecting to the first SETTINGS
    frame_seconds: float = 20.0  # between the first and the last byte of a frame, or of a header block
    idle_seconds: float = 300.0  # without a call; clients connect again by themselves
    ping_after_seconds: float = 30.0  # without a byte from the peer
    ping_seconds: float = 20.0  # for its answer
    unread_seconds: float = 30.0  # without the peer's taking a byte of what waits for it
    leave_seconds: float = 1.0  # for a peer's answer to the first GOAWAY
    linger_seconds: float = 2.0  # for the peer's reading the last GOAWAY


LIMITS = Http2Limits()
