"""Answers on their way to a peer: within the windows that it opens, and no more than its socket takes.

What must wait is counted over all connections: a peer that does not read holds memory of the worker.
"""

from collections.abc import Callable, Iterable
from typing import Any

from modelpress.serving.protocols.grpc.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADER,
    HEADERS,
    MAX_WINDOW,
    Code,
    ConnectionFault,
    StreamFault,
    frame,
)

_ANSWER_BYTES = 512  # that an answer takes beside its own
_UNSENT_BYTES = 256 * 1024  # of small frames, which do not wait, beyond what the socket takes


class Backlog:
    """The bytes that wait for all peers. Where they are too many, the one that holds most is cut off.

    A single answer may be of any size.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0
        self._outboxes: set[Outbox] = set()

    def grow(self, outbox: "Outbox", size: int) -> None:
        """Count bytes that `outbox` holds from now on."""
        self.held += size
        self._outboxes.add(outbox)
        while self.held > self._limit:
            worst = max(self._outboxes, key=lambda one: one.held)
            if len(worst.waiting) == 1 and len(self._outboxes) == 1:
                return
            worst.cut()

    def shrink(self, outbox: "Outbox", size: int) -> None:
        """Count bytes out."""
        self.held -= size
        if not outbox.waiting:
            self._outboxes.discard(outbox)


class Sending:
    """The part of a stream that concerns its answer."""

    __slots__ = ("body", "head", "number", "taken", "trailers", "window")

    def __init__(self, number: int, window: int) -> None:
        self.number = number
        self.window = window  # bytes that the peer takes
        self.head = b""  # a frame
        self.body: bytes | memoryview = b""
        self.taken = 0  # bytes of it that are sent
        self.trailers = b""  # a frame


class Outbox:
    """Sends the answers of one connection; `cut` ends the connection and calls `clear`."""

    def __init__(self, transport: Any, backlog: Backlog, cut: Callable[[], None]) -> None:
        self._transport = transport
        self._backlog = backlog
        self.cut = cut
        self.window = DEFAULT_WINDOW  # of the connection
        self.first_window = DEFAULT_WINDOW  # of a new stream
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self.paused = False  # the socket takes no more
        self.waiting: dict[int, Sending] = {}  # in the order in which they came
        self.held = 0  # bytes of what waits
        self.sent = 0  # bytes of it that have gone
        self.written = 0  # all bytes
        self._closed = False

    @property
    def delivered(self) -> int:
        """How many bytes the socket has taken: shows whether the peer reads."""
        return self.written - int(self._transport.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """Send frames, unless the connection has ended; one whose peer lets too many pile up ends here."""
        if self._closed:
            return
        if self.paused and self._transport.get_write_buffer_size() > _UNSENT_BYTES:
            self.cut()
            return
        self.written += len(data)
        self._transport.write(data)

    def send(self, stream: Sending, head: bytes, body: bytes, trailers: bytes) -> bool:
        """Send an answer, given as two header blocks and what is between; returns whether all of it has gone.

        What is left goes with later calls of `pump`.
        """
        size, number = len(body), stream.number
        last = HEADER.pack(len(trailers) >> 8, len(trailers) & 255, HEADERS, END_HEADERS | END_STREAM, number)
        first = HEADER.pack(len(head) >> 8, len(head) & 255, HEADERS, END_HEADERS, number)
        if size <= self.window and size <= stream.window and size <= self.frame_bytes and not self.paused:
            self.window -= size
            middle = HEADER.pack(size >> 8, size & 255, DATA, 0, number)
            self.write(b"".join((first, head, middle, body, last, trailers)))
            return True
        stream.head, stream.body, stream.trailers = first + head, memoryview(body), last + trailers
        stream.taken = 0
        self.waiting[number] = stream
        self.held += size + _ANSWER_BYTES
        self._backlog.grow(self, size + _ANSWER_BYTES)
        return False

    def pump(self) -> list[Sending]:
        """Send what may be sent; returns the streams whose answer has gone as a whole."""
        done: list[Sending] = []
        going = True
        while going and self.waiting and self.window > 0 and not self.paused:
            going = False
            for stream in list(self.waiting.values()):
                if self.window <= 0 or self.paused:
                    break
                if stream.window > 0:
                    going = True
                    if self._send_frame(stream):
                        done.append(stream)
        return done

    def widen(self, stream: Sending | None, size: int) -> None:
        """Take a WINDOW_UPDATE, None for the connection. Raises ConnectionFault or StreamFault."""
        if stream is not None:
            if not size:
                raise StreamFault(Code.PROTOCOL_ERROR)
            stream.window += size
            if stream.window > MAX_WINDOW:
                raise StreamFault(Code.FLOW_CONTROL_ERROR)
            return
        if not size:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a WINDOW_UPDATE of 0")
        self.window += size
        if self.window > MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the window of the connection is too large")

    def move_windows(self, first: int, streams: Iterable[Sending]) -> None:
        """Take another first window, which moves those of the open streams too (section 6.9.2).

        Raises ConnectionFault.
        """
        change = first - self.first_window
        self.first_window = first
        for stream in streams:
            stream.window += change
            if stream.window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the window of a stream is too large")

    def drop(self, stream: Sending) -> None:
        """Forget what waits of an answer."""
        if self.waiting.pop(stream.number, None) is not None:
            self._release(len(stream.body) - stream.taken + _ANSWER_BYTES)
        stream.body = b""

    def clear(self) -> None:
        """Forget everything, and send nothing more: the connection has ended."""
        self._closed = True
        self.waiting.clear()
        self._release(self.held)

    def _send_frame(self, stream: Sending) -> bool:
        """Send the next DATA frame of an answer; returns whether it was the last one."""
        start = stream.taken
        size = min(len(stream.body) - start, self.window, stream.window, self.frame_bytes)
        self.window -= size
        stream.window -= size
        stream.taken += size
        last = stream.taken == len(stream.body)
        parts = (
            stream.head,
            HEADER.pack(size >> 8, size & 255, DATA, 0, stream.number),
            stream.body[start : start + size],
            stream.trailers if last else b"",
        )
        stream.head = b""
        self.sent += size
        self.write(b"".join(parts))
        if last:
            self.waiting.pop(stream.number)
            stream.body = b""
        self._release(size + (_ANSWER_BYTES if last else 0))
        return last

    def _release(self, size: int) -> None:
        self.held -= size
        self._backlog.shrink(self, size)


def headers_frame(stream: int, block: bytes) -> bytes:
    """Return the HEADERS frame that is the whole of an answer."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
