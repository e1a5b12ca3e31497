"""What hostile peers do on a connection, whatever they speak."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psutil

from tests.support.serving.artifacts import Worker

T = TypeVar("T")

AT_ONCE = 32
ANSWER_SECONDS = 0.3  # most of what is sent is not complete, and never answered


async def ask(host: str, port: int, data: bytes) -> bytes:
    """Send and return whatever comes back in time."""
    answer = bytearray()
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(data)
            await writer.drain()
            while chunk := await reader.read(65536):
                answer += chunk
    writer.transport.abort()
    return bytes(answer)


async def slow_send(address: tuple[str, int], data: bytes, first: int, stop: asyncio.Event) -> None:
    """Send the first bytes at once, the others one by one, and stay until the end."""
    with contextlib.suppress(ConnectionError):
        _, writer = await asyncio.open_connection(*address)
        writer.write(data[:first])
        for byte in data[first:]:
            if stop.is_set():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)
        await stop.wait()
        writer.transport.abort()


async def flood(
    numbers: Iterable[int],
    attack: Callable[[int], Awaitable[None]],
    slow: Iterable[Callable[[asyncio.Event], Coroutine[Any, Any, None]]],
) -> None:
    """Call `attack` with each number, several at a time, while the slow ones run; they end with the event."""
    stop, left = asyncio.Event(), iter(numbers)
    crowd = [asyncio.create_task(one(stop)) for one in slow]

    async def attacks() -> None:
        for number in left:
            await attack(number)

    try:
        await asyncio.gather(*(attacks() for _ in range(AT_ONCE)))
    finally:
        stop.set()
        await asyncio.gather(*crowd)


def assert_others_served(
    worker: Worker,
    count: int,
    mutated: Callable[[range], Coroutine[Any, Any, Counter[T]]],
    others: Callable[[threading.Event], int],
) -> Counter[T]:
    """Send `count` mutations; the worker must go on, log no fault, and not grow by a fifth.

    `others` runs on two threads meanwhile: it checks answers until the event, and returns how many. What is
    returned is how often each outcome came.
    """
    process, stop = psutil.Process(worker.process.pid), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        beside = [pool.submit(others, stop) for _ in range(2)]
        try:
            asyncio.run(mutated(range(-count // 10, 0)))  # the first ones fill all caches
            before = process.memory_info().rss
            found = asyncio.run(mutated(range(count)))
            after = process.memory_info().rss
        finally:
            stop.set()
        answered = [task.result(60) for task in beside]
    print(f"{dict(found)}, {answered} well-formed beside, {before / 1e6:.1f} -> {after / 1e6:.1f} MB")
    assert min(answered) > 0
    assert worker.process.poll() is None
    assert after < 1.2 * before
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert not [line for line in log.splitlines() if '"level": "ERROR"' in line]
    return found
