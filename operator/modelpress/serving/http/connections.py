"""All connections of a worker over HTTP: how many, for how long, and what waits for their peers."""

import logging
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum
from typing import Any

_EVICTED_SHARE = 16  # one connection in 16 is closed when there are too many, so that it is seldom done
RECEIVED_BYTES = 256 * 1024  # the most that is received at a time

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be."""

    connections: int = 4096
    head_bytes: int = 16 * 1024  # as Node.js; what follows a chunked body may have as many
    headers: int = 100  # as Apache
    pipelined: int = 128  # requests that wait for the answer to an earlier one
    head_seconds: float = 20.0  # from connecting, or from the first byte, to the end of the head
    idle_seconds: float = 75.0  # between an answer and the next request, as nginx
    unread_seconds: float = 30.0  # without the peer's reading a byte of what waits for it
    linger_seconds: float = 2.0  # for reading a refusal
    age_seconds: float = 300.0  # give or take a tenth; then callers are asked to connect anew
    unread_bytes: int = 64 * 2**20  # answers that wait for their peers to read them, on all connections
    half_closed_seconds: float = 1.0  # before a peer that sends no more is asked whether it still reads


class State(Enum):
    """What a connection waits for."""

    FRESH = "its first byte"
    HEAD = "the rest of a head"
    BUSY = "the rest of a body, or an answer"
    IDLE = "the next request"
    LINGERING = "its end"


class Connections:
    """The connections of one server, and what they share. Used from the event loop only."""

    def __init__(self, limits: ConnectionLimits, is_local: bool = False) -> None:
        self.limits = limits
        self.is_local = is_local  # nobody else reaches them: they take names of this machine only
        self.open: set[Any] = set()
        self._unread: dict[Any, int] = {}  # bytes by connection, those that wait longest first
        self._unread_bytes = 0
        self.received = memoryview(bytearray(RECEIVED_BYTES))  # each reads it before the next one is served
        self.ending = False  # they close after the answers that they owe
        self.date = b""  # the header of all answers of this second
        self.tick()

    def tick(self) -> None:
        """Note the time of day."""
        self.date = f"date: {formatdate(time.time(), usegmt=True)}\r\n".encode()

    def add(self, connection: Any) -> bool:
        """Take a connection; returns whether there are too many."""
        most = self.limits.connections
        full = len(self.open) >= most and not evict(self.open, max(1, most // _EVICTED_SHARE))
        self.open.add(connection)
        return full

    def expiry(self, now: float) -> float:
        """Return when a connection made now is old: not all at the same time."""
        return now + self.limits.age_seconds * random.uniform(0.9, 1.1)  # noqa: S311 - no secret

    def wait_for_reader(self, connection: Any, size: int) -> None:
        """Note bytes that a peer does not read yet; where it is too much, who waits longest is cut off."""
        self._unread[connection] = size
        self._unread_bytes += size
        while self._unread_bytes > self.limits.unread_bytes and len(self._unread) > 1:
            slowest = next(iter(self._unread))
            self.forget_reader(slowest)
            slowest.transport.abort()

    def forget_reader(self, connection: Any) -> None:
        """Note that a peer has read, or left."""
        self._unread_bytes -= self._unread.pop(connection, 0)

    def end(self) -> None:
        """Let each close after the answers that it owes, now if there is none."""
        self.ending = True
        for connection in list(self.open):
            connection.shutdown()


def evict(connections: set[Any], count: int) -> int:
    """Close up to `count` connections that owe no answer and waited longest, heads before idle ones.

    They leave the set at once; returns how many.
    """
    waiting = (State.HEAD, State.FRESH, State.IDLE)
    able = [one for one in connections if one.state in waiting and not one.unanswered]
    able.sort(key=lambda one: (one.state is State.IDLE, one.since))
    for connection in able[:count]:
        connections.discard(connection)
        connection.transport.abort()
    return len(able[:count])


def sweep(connections: Iterable[Any], now: float) -> None:
    """End every connection that waited too long; `now` is the loop's time."""
    for connection in list(connections):
        try:
            connection.check(now)
        except Exception:  # limits of the others must hold all the same
            logger.exception("A connection could not be checked: it is cut off.")
            connection.transport.abort()
