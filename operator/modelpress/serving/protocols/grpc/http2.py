"""One HTTP/2 connection of a server (RFC 9113), as far as gRPC needs it: no pushes, no priorities.

It knows nothing of gRPC but the heads of its requests. Whatever breaks a rule ends the stream or the
connection with the RFC's code. A peer that sends many frames without a request is told to calm down: most
attacks on HTTP/2 are made of them (PING, SETTINGS and empty DATA floods, CVE-2019-9512 and others; rapid
reset, CVE-2023-44487).
"""

import logging
from typing import Any, Protocol

from modelpress.serving.protocols.grpc import frames
from modelpress.serving.protocols.grpc.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    ConnectionFault,
    Setting,
    StreamFault,
)
from modelpress.serving.protocols.grpc.head import RequestHead, well_formed
from modelpress.serving.protocols.grpc.headers import BlockReader, without_table
from modelpress.serving.protocols.grpc.lifetime import Connections, Lifetime
from modelpress.serving.protocols.grpc.outbox import Sending, headers_frame
from modelpress.serving.protocols.grpc.reader import FrameReader

_FORGOTTEN = 1024  # streams that we ended while their peer may still send
_SMALL_BYTES = 256  # of a part of a body
_FORGIVING_BYTES = 1024  # of an answer: so many may take a WINDOW_UPDATE

logger = logging.getLogger(__name__)


class Stream(Sending):
    """One request and its answer."""

    __slots__ = ("came", "complete", "connection", "exchange", "owed", "request", "updates")

    def __init__(self, connection: "Http2Connection", number: int, request: RequestHead) -> None:
        super().__init__(number, connection.outbox.first_window)
        self.connection = connection
        self.request = request
        self.came = 0  # bytes of its body
        self.owed = 0  # bytes that came, for which the peer was given no others
        self.complete = False  # the whole request has come
        self.updates = 0  # WINDOW_UPDATE frames for it
        self.exchange: Any = None  # of the layer above


class Calls(Protocol):
    """The layer above. None of its methods may raise."""

    def opened(self, stream: Stream) -> None:
        """Take a new request."""

    def data(self, stream: Stream, part: bytes) -> None:
        """Take a part of its body; the last one where `stream.complete`."""

    def gone(self, stream: Stream) -> None:
        """Forget a request that nobody waits for."""


class Http2Connection(Lifetime):
    """A connection that reads frames, and hands requests to the layer above."""

    def __init__(self, calls: Calls, peers: Connections) -> None:
        super().__init__(peers)
        self._calls = calls
        self._reader = FrameReader()
        self._blocks = BlockReader(self.limits)
        self._only: int | None = SETTINGS  # the only kind of frame that may come now
        self._block = bytearray()  # of a head that comes in several frames,
        self._block_of = (0, 0, 0)  # its stream, flags and number of frames
        self._owed = 0  # bytes that came, for which the peer was given no others
        self._forgotten: dict[int, None] = {}
        self._noise = 0
        self._table_unknown = False  # the peer may wait for word about our header table
        self._handlers = {
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._rst_stream,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
        }

    # of asyncio.Protocol and Lifetime

    def data_received(self, data: bytes) -> None:
        """Take what came, frame by frame."""
        if self._deaf:
            return
        self._heard = self._now()
        try:
            for kind, flags, number, payload in self._reader.frames(data):
                self._frame(kind, flags, number, payload)
                if self._deaf:
                    return
                if kind != CONTINUATION:
                    self._partial_since = 0.0
        except ConnectionFault as fault:
            self.fail(fault.code, fault.reason)
        except Exception:
            logger.exception("A gRPC connection failed.")
            self.fail(Code.INTERNAL_ERROR, "internal error")
        if not self._reader.partial and self._only != CONTINUATION:
            self._partial_since = 0.0
        elif not self._partial_since:
            self._partial_since = self._heard

    def pause_writing(self) -> None:
        """Keep answers back: the socket takes no more."""
        self.outbox.paused = True

    def resume_writing(self) -> None:
        """Send what was kept back."""
        self.outbox.paused = False
        self._pump()

    def check(self, now: float) -> None:
        """Also forgive noise."""
        self._noise = max(0, self._noise - self.limits.noise_per_second)
        super().check(now)

    def drop(self, stream: Stream) -> None:
        """Tell the layer above that the caller left."""
        self._calls.gone(stream)

    # answers

    def respond(self, stream: Stream, head: bytes, body: bytes, trailers: bytes) -> None:
        """Answer with two header blocks and what is between."""
        if self._deaf:
            return
        self._forgive(self.limits.noise_per_answer)
        if self.outbox.send(stream, self._first(head), body, trailers):
            self._answered(stream)
        else:
            self._pump()

    def respond_head(self, stream: Stream, head: bytes) -> None:
        """Answer with one header block."""
        if not self._deaf:
            self._forgive(self.limits.noise_per_refusal)
            self.write(headers_frame(stream.number, self._first(head)))
            self._answered(stream)

    def _first(self, block: bytes) -> bytes:
        """Return the next header block to be sent, with what the peer wants to know before."""
        if not self._table_unknown:
            return block
        self._table_unknown = False
        return without_table(block)

    def _answered(self, stream: Stream) -> None:
        """Forget a stream whose answer has gone."""
        if not stream.complete:
            self._reset(stream.number, Code.NO_ERROR)
        self._forget(stream.number)

    def _pump(self) -> None:
        before = self.outbox.sent
        for stream in self.outbox.pump():
            assert isinstance(stream, Stream)
            self._answered(stream)
        self._forgive((self.outbox.sent - before) // _FORGIVING_BYTES)

    # streams that end early

    def _reset(self, number: int, code: Code) -> None:
        """End a stream; what its peer still sends is thrown away."""
        self._forgotten[number] = None
        if len(self._forgotten) > _FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]
        self.write(frames.rst_stream(number, code))

    def _abandon(self, stream: Stream) -> None:
        """Forget a stream that is over before its answer."""
        self.outbox.drop(stream)
        self._calls.gone(stream)
        self._forget(stream.number)

    def _noisy(self) -> None:
        self._noise += 1
        if self._noise > self.limits.noise:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many frames without a request")

    def _forgive(self, count: int) -> None:
        self._noise = max(0, self._noise - count)

    def _opened(self, number: int, kind: str) -> None:
        """Raise ConnectionFault where a frame is for no stream, or for one that was never opened."""
        if not number & 1 or (number > self._last and not self._final):
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{kind} for a stream that was never opened")

    def _late(self, number: int, flags: int, size: int) -> None:
        """Take data for a stream that is over: fine where we ended it, and the peer could not know."""
        if number > self._last:
            self._noisy()
        elif number not in self._forgotten:
            raise StreamFault(Code.STREAM_CLOSED)
        elif flags & END_STREAM:
            del self._forgotten[number]
        elif size < _SMALL_BYTES:
            self._noisy()

    # frames

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._only is not None and kind != self._only:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "another frame was expected")
        try:
            if kind == DATA:
                self._data(flags, number, payload)
            elif kind == HEADERS:
                self._headers(flags, number, payload)
            elif kind == CONTINUATION:
                self._continuation(flags, number, payload)
            else:
                if kind != WINDOW_UPDATE:
                    self._noisy()
                handler = self._handlers.get(kind)  # others are ignored (section 5.5)
                if handler is not None:
                    handler(flags, number, payload)
        except StreamFault as fault:
            self._noisy()
            self._reset(number, fault.code)
            stream = self.streams.get(number)
            if stream is not None:
                self._abandon(stream)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        # All that comes is taken at once, and the layer above bounds it: windows are given back by halves, so
        # that no frame can be beyond one.
        size = len(payload)
        self._owed += size
        if self._owed * 2 >= self.limits.connection_window:
            self.write(frames.window_update(0, self._owed))
            self._owed = 0
        part = frames.unpadded(payload, flags)
        stream = self.streams.get(number)
        if stream is None or stream.complete:
            self._opened(number, "DATA")
            self._late(number, flags, size)
            return
        stream.came += len(part)
        if flags & END_STREAM:
            self._completed(stream)
        elif not part:
            self._noisy()
        else:
            stream.owed += size
            if stream.owed * 2 >= self.limits.stream_window:
                self.write(frames.window_update(number, stream.owed))
                stream.owed = 0
        self._calls.data(stream, part)

    @staticmethod
    def _completed(stream: Stream) -> None:
        if stream.request.length not in (None, stream.came):
            raise StreamFault(Code.PROTOCOL_ERROR)  # section 8.1.1
        stream.complete = True

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "HEADERS for a stream that is not a client's")
        block = frames.block_of(payload, flags, number)
        if flags & END_HEADERS:
            self._head(flags, number, block)
        else:
            self._block, self._block_of = bytearray(block), (number, flags, 1)
            self._only = CONTINUATION

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        expected, first_flags, count = self._block_of
        if self._only != CONTINUATION or number != expected:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of no header block")
        self._block += payload
        self._block_of = (expected, first_flags, count + 1)
        if len(self._block) > self.limits.block_bytes or count >= self.limits.block_frames:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "the header block is too large")
        if flags & END_HEADERS:
            self._only = None
            self._head(first_flags, number, bytes(self._block))

    def _head(self, flags: int, number: int, block: bytes) -> None:
        """Take a whole header block: of a new request, or what follows a body."""
        if number <= self._last:
            self._trailers(flags, number, block)
            return
        request = self._blocks.head(block)
        if self._final:
            return
        self._last = number
        if request.malformed:
            raise StreamFault(Code.PROTOCOL_ERROR)
        if len(self.streams) >= self.limits.streams:
            raise StreamFault(Code.REFUSED_STREAM)
        stream = Stream(self, number, request)
        if flags & END_STREAM:
            self._completed(stream)
        self.streams[number] = stream
        self._calls.opened(stream)
        if stream.complete and number in self.streams:
            self._calls.data(stream, b"")

    def _trailers(self, flags: int, number: int, block: bytes) -> None:
        fields = self._blocks.fields(block)
        stream = self.streams.get(number)
        if stream is None:
            self._noisy()
            if number not in self._forgotten:
                raise ConnectionFault(Code.STREAM_CLOSED, "HEADERS for a stream that is over")
            return
        if stream.complete:
            raise StreamFault(Code.STREAM_CLOSED)
        if not flags & END_STREAM or not well_formed(fields):
            raise StreamFault(Code.PROTOCOL_ERROR)
        self._completed(stream)
        self._calls.data(stream, b"")

    def _priority(self, _: int, number: int, payload: bytes) -> None:
        if not number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY for no stream")
        frames.check_priority(payload, number)

    def _rst_stream(self, _: int, number: int, payload: bytes) -> None:
        frames.uint32(payload)
        self._opened(number, "RST_STREAM")
        stream = self.streams.get(number)
        if stream is not None:
            self._abandon(stream)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS for a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS has no payload")
            if not self._greeted:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS must come first")
            return
        found = frames.settings_of(payload)
        self._greeted, self._only = True, None
        self.write(frames.frame(SETTINGS, ACK, 0))
        outbox = self.outbox
        outbox.frame_bytes = found.get(Setting.MAX_FRAME_SIZE, outbox.frame_bytes)
        if Setting.HEADER_TABLE_SIZE in found:
            self._table_unknown = True
        window = found.get(Setting.INITIAL_WINDOW_SIZE, outbox.first_window)
        if window != outbox.first_window:
            outbox.move_windows(window, self.streams.values())
            self._pump()

    def _push_promise(self, _: int, __: int, ___: bytes) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "clients cannot push")

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING for a stream")
        if len(payload) != frames.PING_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PING must have 8 bytes")
        if flags & ACK:
            self._ponged(payload)
        else:
            self.write(frames.frame(frames.PING, ACK, 0, payload))

    def _goaway(self, _: int, number: int, payload: bytes) -> None:
        """Take word that the peer opens no more streams: nothing changes for those that are open."""
        if number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY for a stream")
        if len(payload) < frames.GOAWAY_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "GOAWAY must have 8 bytes or more")

    def _window_update(self, _: int, number: int, payload: bytes) -> None:
        size = frames.uint32(payload) & frames.MAX_WINDOW
        stream = self.streams.get(number)
        if number and stream is None:
            self._noisy()
            self._opened(number, "WINDOW_UPDATE")
            return
        if stream is None or stream.updates >= self.limits.updates:
            self._noisy()
        else:
            stream.updates += 1
        self.outbox.widen(stream, size)
        if self.outbox.waiting:
            self._pump()
