"""Bodies that come in parts, slowly or in too large a number, on the fast path."""

import json
from typing import Any

import pytest

from tests.support.serving.fast_site import PREDICT, ROW, Site, post, serve, until


def test_a_body_in_parts_is_counted_while_it_arrives() -> None:
    body = json.dumps({"instances": [[1.5] * 1000]}).encode()

    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        request = post(PREDICT, body)
        await peer.send(request[:2000], request[2000:3000])
        head = len(request) - len(body)
        await until(lambda: site.bodies.held == 3000 - head)
        await peer.send(request[3000:])
        assert json.loads((await peer.answer())[1])["predictions"] == [[3.0] * 1000]
        assert site.seen == []

    serve(test)


async def handed_over(site: Site, connect: Any) -> tuple[Any, bytes]:
    """Send a request without its end until the application has it; returns the peer and the end."""
    slow = await connect()
    request = post(PREDICT, ROW)
    await slow.send(request[:-5])
    site.later(2)
    await until(lambda: site.seen == [PREDICT])
    return slow, request[-5:]


def test_a_slow_body_is_left_to_the_application_and_its_deadline() -> None:
    async def test(site: Site, connect: Any) -> None:
        slow, _ = await handed_over(site, connect)
        head, body = await slow.answer()  # the rest never comes
        assert head.startswith(b"HTTP/1.1 408")
        assert b"did not arrive" in body

    serve(test, timeout=0.3)


def test_a_slow_body_that_ends_is_answered() -> None:
    async def test(site: Site, connect: Any) -> None:
        slow, rest = await handed_over(site, connect)
        await slow.send(rest)
        assert (await slow.answer())[1] == b'{"predictions":[[2.0]]}'

    serve(test)


def test_a_slow_body_after_the_largest_head_is_handed_over_too() -> None:
    async def test(site: Site, connect: Any) -> None:
        slow = await connect()
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nA: {'a' * 15_000}\r\n".encode()
        await slow.send(head, b"Content-Length: 50000\r\n\r\n" + b" " * 20_000)
        await until(lambda: site.bodies.held == 20_000)
        site.later(2)
        await slow.send(b" " * (30_000 - len(ROW)) + ROW)
        assert (await slow.answer())[1] == b'{"predictions":[[2.0]]}'
        assert site.seen == [PREDICT]
        assert site.service.in_flight == 0

    serve(test)


@pytest.mark.parametrize(
    "head",
    [
        "Transfer-Encoding: chunked",
        "Content-Length: 9\r\nContent-Encoding: gzip",
        "Content-Length: 9\r\nConnection: close",
    ],
)
def test_a_body_of_which_nothing_comes_is_not_waited_for_for_ever(head: str) -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 408")
        await until(lambda: site.service.in_flight == 0)

    serve(test, timeout=0.3)


def test_bodies_above_the_budget_are_refused_by_the_application() -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n".encode())
        await peer.send(*([b" " * 60_000] * 3))
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 429")
        assert site.seen == [PREDICT]

    serve(test, budget=100_000)
