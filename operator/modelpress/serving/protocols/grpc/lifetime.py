"""How a connection of HTTP/2 begins and ends: how many there are, how long they wait, how they part."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from modelpress.serving.protocols.grpc import frames
from modelpress.serving.protocols.grpc.frames import MAX_STREAM, Code, Setting
from modelpress.serving.protocols.grpc.limits import Http2Limits
from modelpress.serving.protocols.grpc.outbox import Backlog, Outbox

_LEAVING = b"leaving?"  # of the PING whose answer says that the first GOAWAY has been read
_ALIVE = b"alive???"
_EVICTED_SHARE = 16  # one in so many is closed when there are too many, so that it is seldom done


class Connections(set["Lifetime"]):
    """All connections of a server, and what they share."""

    def __init__(self, limits: Http2Limits, backlog: Backlog) -> None:
        super().__init__()
        self.limits = limits
        self.backlog = backlog

    def admit(self, connection: "Lifetime") -> bool:
        """Add a connection if there is room, or room can be made: those without a call go first."""
        most = self.limits.connections
        if len(self) >= most:
            idle = sorted((one for one in self if not one.streams), key=lambda one: one.since)
            for one in idle[: max(1, most // _EVICTED_SHARE)]:
                one.cut()
        if len(self) >= most:
            return False
        self.add(connection)
        return True


class Lifetime(asyncio.Protocol, ABC):
    """A connection without its frames."""

    outbox: Outbox

    def __init__(self, peers: Connections) -> None:
        self.limits = peers.limits
        self.streams: dict[int, Any] = {}
        self.transport: Any = None
        self.client: str | None = None  # an address
        self._peers = peers
        self._now = asyncio.get_running_loop().time
        self._last = 0  # stream of the peer
        self._final = False  # no stream is taken any more
        self._deaf = False  # whatever comes is thrown away
        self.since = self._heard = self._now()  # the last call; the last byte
        self._greeted = False  # the peer's SETTINGS have come
        self._partial_since = 0.0  # 0: nothing is incomplete
        self._asked = 0.0  # when a PING was sent that is not answered yet
        self._left = 0.0  # when the first GOAWAY was sent
        self._ended = 0.0
        self._delivered = (0, self.since)  # bytes that the peer has read, and since when

    @abstractmethod
    def drop(self, stream: Any) -> None:
        """Forget a stream whose connection has ended."""

    def connection_made(self, transport: Any) -> None:
        """Greet the peer, or turn it away."""
        self.transport = transport
        self.outbox = Outbox(transport, self._peers.backlog, self.cut)
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if peer else None
        limits = self.limits
        greeting = {
            Setting.MAX_CONCURRENT_STREAMS: limits.streams,
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        more = frames.window_update(0, limits.connection_window - frames.DEFAULT_WINDOW)
        self.write(frames.settings(greeting) + more)
        if not self._peers.admit(self):
            self.write(frames.goaway(0, Code.ENHANCE_YOUR_CALM, "too many connections"))
            self._deaf = True
            transport.close()

    def write(self, data: bytes) -> None:
        """Send frames that do not wait."""
        self.outbox.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell every request that its caller left."""
        self._deaf = True
        self._peers.discard(self)
        self._drop_streams()

    def fail(self, code: Code, reason: str) -> None:
        """End the connection because its peer broke a rule, and tell it which."""
        if not self._deaf:
            self.write(frames.goaway(self._last, code, reason))
            self._end()

    def leave(self) -> None:
        """Ask the peer to go elsewhere: what it sends until it has read that is answered (section 6.8)."""
        if self._left or self._deaf:
            return
        self._left = self._now()
        self.write(frames.goaway(MAX_STREAM, Code.NO_ERROR) + frames.frame(frames.PING, 0, 0, _LEAVING))

    def cut(self) -> None:
        """End the connection at once."""
        self._deaf = True
        self._peers.discard(self)
        self._drop_streams()
        self.transport.abort()

    def check(self, now: float) -> None:
        """End the connection where it waited too long; `now` is the loop's time. Called once a second."""
        limits = self.limits
        if self._peer_stopped_reading(now) or (self._asked and now - self._asked > limits.ping_seconds):
            self.cut()
        elif self._deaf:
            if now - self._ended > limits.linger_seconds and not self.transport.get_write_buffer_size():
                self.cut()
        elif not self._greeted and now - self.since > limits.open_seconds:
            self.fail(Code.SETTINGS_TIMEOUT, "no SETTINGS came")
        elif self._partial_since and now - self._partial_since > limits.frame_seconds:
            self.fail(Code.ENHANCE_YOUR_CALM, "the rest of a frame did not come")
        elif self._left:
            if now - self._left > limits.leave_seconds:
                self._finish()
        elif not self.streams and now - self.since > limits.idle_seconds:
            self.leave()
        elif not self._asked and now - self._heard > limits.ping_after_seconds:
            self._asked = now
            self.write(frames.frame(frames.PING, 0, 0, _ALIVE))

    def _ponged(self, payload: bytes) -> None:
        """Take the answer to a PING of ours."""
        if payload == _LEAVING and self._left:
            self._finish()
        self._asked = 0.0

    def _peer_stopped_reading(self, now: float) -> bool:
        outbox = self.outbox
        delivered = outbox.delivered
        if (delivered == outbox.written and not outbox.waiting) or delivered > self._delivered[0]:
            self._delivered = (delivered, now)
        return now - self._delivered[1] > self.limits.unread_seconds

    def _finish(self) -> None:
        """Take no more streams, and end when those that were taken are answered."""
        if not self._final:
            self._final = True
            self.write(frames.goaway(self._last, Code.NO_ERROR))
            if not self.streams:
                self._end()

    def _end(self) -> None:
        """Let the peer read what was said: closing at once could reset the connection."""
        self._deaf = True
        self._ended = self._now()
        self._drop_streams()
        self.transport.write_eof()

    def _drop_streams(self) -> None:
        streams, self.streams = self.streams, {}
        self.outbox.clear()
        for stream in streams.values():
            self.drop(stream)

    def _forget(self, number: int) -> None:
        """Forget a stream that is over."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.exchange = None  # which refers to the stream
        if not self.streams:
            self.since = self._now()
            if self._final:
                self._end()
