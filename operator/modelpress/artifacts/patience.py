"""How long clients wait for a peer that cannot be reached: a fresh pod's network may be late.

Where a NetworkPolicy engine is at work, the first connections of a pod are refused for tenths of a second,
then a packet is lost, which costs a second. What a library repeats by itself comes on top. Nothing is asked
again that a peer may have begun to do, and no answer is asked for again because of what it says.
"""

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

BUDGET_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds
_FIRST_CONNECT, _LONGEST_CONNECT = 2.0, 8.0  # seconds; the kernel sends a lost SYN again after one
_NOT_REACHED = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,  # a fault of this machine: an IPv6 address is being checked
        socket.EAI_AGAIN,  # the name server does not answer; a name that is not known is another error
    }
)
# Of requests, urllib3, botocore, httpx and aiohttp, by name: their modules are slow to load. The last has no
# errno where the addresses of a host failed in different ways.
_CONNECT_TIMEOUTS = (
    "ConnectTimeout",
    "ConnectTimeoutError",
    "ConnectionTimeoutError",
    "ClientConnectorError",
)
# Of aiohttp and httpx: a connection that ends without an answer.
_DISCONNECTED = ("ServerDisconnectedError", "RemoteProtocolError")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One of several: how long connecting may take, and how long to wait after it."""

    connect_seconds: float
    pause_seconds: float


def attempts() -> Iterator[Attempt]:
    """Yield the attempts, without an end. Pure."""
    connect, pause = _FIRST_CONNECT, _FIRST_PAUSE
    while True:
        yield Attempt(connect, pause)
        connect, pause = min(2 * connect, _LONGEST_CONNECT), min(2 * pause, _LONGEST_PAUSE)


def patiently(
    action: Callable[[float], T],
    again: Callable[[Exception], bool],
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Return what `action` does, given the seconds that connecting may take.

    An error of which `again` is true is waited out; the last one is raised where that takes too long.
    """
    end = now() + BUDGET_SECONDS
    for attempt in attempts():
        try:
            return action(attempt.connect_seconds)
        except Exception as error:
            if not again(error) or now() + attempt.pause_seconds > end:
                raise
            _log.info("%s; trying again", error)
        sleep(attempt.pause_seconds)
    raise AssertionError("attempts have no end")


def unreached(error: BaseException) -> bool:
    """Whether an error says that no connection came about, so that nothing was sent."""
    return any(
        (isinstance(cause, OSError) and cause.errno in _NOT_REACHED)
        or type(cause).__name__ in _CONNECT_TIMEOUTS
        for cause in _causes(error)
    )


def reset(error: BaseException) -> bool:
    """Whether an error says that the peer ended a connection at once: what was asked may be done or not."""
    return any(
        isinstance(cause, ConnectionError) or type(cause).__name__ in _DISCONNECTED
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += [current.__cause__, current.__context__]
