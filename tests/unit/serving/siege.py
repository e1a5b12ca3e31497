"""What hostile peers do on a connection, whatever they speak."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

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


async def drip(address: tuple[str, int], data: bytes, first: int, stop: asyncio.Event) -> None:
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


async def besiege(
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
