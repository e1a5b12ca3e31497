"""Which messages that take long are refused, in an event loop without a server."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from modelpress.serving.errors import Overloaded, TooSlow
from modelpress.serving.protocols.grpc.arrivals import ArrivalLimits, Arrivals, slow_messages


@pytest.mark.parametrize(
    ("largest", "count"), [(1, 64), (1 << 20, 64), (64 << 20, 16), (1 << 30, 4), (1 << 40, 4)]
)
def test_how_many_may_be_slow(largest: int, count: int) -> None:
    assert slow_messages(largest) == count


def reading(event: asyncio.Event) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        await event.wait()
        return b"x"

    return read


async def turns(tasks: list[asyncio.Task[bytes]], done: int) -> None:
    while sum(task.done() for task in tasks) < done:
        await asyncio.sleep(0.001)


def test_the_slowest_ones_are_refused_for_others() -> None:
    async def run() -> None:
        arrivals, come = Arrivals(ArrivalLimits(2, 60, 0)), asyncio.Event()
        tasks = [asyncio.create_task(arrivals.take(reading(come))) for _ in range(5)]
        await turns(tasks, 3)
        for task in tasks[:3]:
            assert isinstance(task.exception(), Overloaded)
        come.set()
        assert await asyncio.gather(*tasks[3:]) == [b"x"] * 2
        assert await arrivals.take(reading(come)) == b"x"

    asyncio.run(run())


def test_messages_that_are_there_at_once_are_never_refused() -> None:
    async def run() -> None:
        arrivals, come = Arrivals(ArrivalLimits(2, 60, 60)), asyncio.Event()
        tasks = [asyncio.create_task(arrivals.take(reading(come))) for _ in range(100)]
        await asyncio.sleep(0)
        come.set()
        assert await asyncio.gather(*tasks) == [b"x"] * 100

    asyncio.run(run())


def test_one_that_does_not_come_is_refused() -> None:
    async def run() -> None:
        arrivals = Arrivals(ArrivalLimits(2, 0.01, 0))
        with pytest.raises(TooSlow, match=r"the message did not arrive within 0\.01 seconds"):
            await arrivals.take(reading(asyncio.Event()))

    asyncio.run(run())


def test_a_caller_that_leaves_makes_room() -> None:
    async def run() -> None:
        arrivals, come = Arrivals(ArrivalLimits(1, 60, 0)), asyncio.Event()
        first = asyncio.create_task(arrivals.take(reading(come)))
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(arrivals.take(reading(come)))
        await asyncio.sleep(0.01)
        come.set()
        assert await second == b"x"

    asyncio.run(run())
