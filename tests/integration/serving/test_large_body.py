"""Large bodies of raw tensors, whose heads are known, on real sockets."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.serving import large_body
from modelpress.serving.large_body import LargeBody
from modelpress.serving.service import Phase
from tests.support.serving.fast_site import FLOAT, MAX_BODY, OIP, Site, post, raw_request, serve, until

VALUES = np.arange(200_000, dtype=FLOAT).reshape(2, 100_000)
REQUEST = raw_request(OIP, VALUES)
DOUBLED = (2 * VALUES).tobytes()
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[LargeBody]:
    """Return the bodies that a buffer of their own received."""
    found: list[LargeBody] = []
    take = LargeBody.take

    def noted(self: LargeBody, *args: Any) -> None:
        found.append(self)
        take(self, *args)

    monkeypatch.setattr(LargeBody, "take", noted)
    return found


async def acquainted(connect: Any) -> Any:
    """Return a connection, after a request whose head is known from then on."""
    peer = await connect()
    await peer.send(REQUEST)
    assert (await peer.answer())[1].endswith(DOUBLED)
    return peer


def test_answers_are_those_to_a_body_that_is_parsed(taken: list[LargeBody]) -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(REQUEST)
        parsed = await peer.answer()
        assert taken == []
        for number in (1, 2):
            await peer.send(REQUEST)
            assert await peer.answer() == parsed
            assert len(taken) == number
        assert site.seen == []
        assert site.answered(200) == 3

    serve(test)


def test_large_bodies_of_json_are_taken_too(taken: list[LargeBody]) -> None:
    few = VALUES[:, :10_000]
    entry = {"name": "x", "datatype": "FP32", "shape": few.shape, "data": few.ravel().tolist()}
    request = post(OIP, json.dumps({"inputs": [entry]}).encode())

    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        answers = []
        for number in range(3):
            await peer.send(request[:100_000], request[100_000:])
            answers.append(await peer.answer())
            assert len(taken) == number
        assert len(request) > large_body.LARGE_BYTES + 100_000
        assert json.loads(answers[0][1])["outputs"][0]["data"] == (2 * few).ravel().tolist()
        assert answers[1:] == answers[:1] * 2
        assert site.seen == []

    serve(test)


@pytest.mark.parametrize("length", range(100, 117))
def test_raw_tensors_are_aligned_and_not_copied_again(length: int) -> None:
    body = LargeBody(None, length + 4096, length, lambda: None)
    array = np.frombuffer(body.get_buffer(0)[length:], FLOAT)
    assert array.flags.aligned
    assert array.flags.writeable  # else LiteRT copies it
    assert len(array) == 1024


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(REQUEST)), max_size=8))
def test_answers_do_not_depend_on_where_the_body_is_cut(cuts: list[int]) -> None:
    stream = REQUEST + LIVE + REQUEST
    bounds = [0, *sorted(set(cuts)), len(stream)]

    async def test(site: Site, connect: Any) -> None:
        peer = await acquainted(connect)
        await peer.send(*(stream[a:b] for a, b in pairwise(bounds)))
        assert (await peer.answer())[1].endswith(DOUBLED)
        assert (await peer.answer())[1] == b'{"live":true}'
        assert (await peer.answer())[1].endswith(DOUBLED)

    serve(test)


def test_what_follows_a_large_body_is_left_to_the_parser(taken: list[LargeBody]) -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await acquainted(connect)
        await peer.send(REQUEST[:1000], REQUEST[1000:] + LIVE)
        assert (await peer.answer())[1].endswith(DOUBLED)
        assert (await peer.answer())[1] == b'{"live":true}'
        assert len(taken) == 1

    serve(test)


def test_it_is_counted_while_it_arrives_and_forgotten_when_the_caller_leaves(taken: list[LargeBody]) -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await acquainted(connect)
        start = len(REQUEST) - VALUES.nbytes
        await peer.send(REQUEST[: start + 1000], REQUEST[start + 1000 : start + 5000])
        await until(lambda: site.bodies.held >= 5000)
        peer.writer.close()
        await until(lambda: site.bodies.held == 0)
        assert site.answered(499) == 1
        assert len(taken) == 1

    serve(test)


def test_a_slow_one_is_left_to_the_application(taken: list[LargeBody]) -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await acquainted(connect)
        await peer.send(REQUEST[:100_000])
        await until(lambda: len(taken) == 1)
        site.later(2)
        await until(lambda: site.seen == [OIP])
        await peer.send(REQUEST[100_000:])
        assert (await peer.answer())[1].endswith(DOUBLED)
        await peer.send(REQUEST)  # and it goes on
        assert (await peer.answer())[1].endswith(DOUBLED)
        assert len(taken) == 2

    serve(test)


def test_one_that_does_not_fit_the_budget_is_refused_by_the_application(taken: list[LargeBody]) -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await acquainted(connect)
        assert site.bodies.hold(MAX_BODY - 50_000)
        await peer.send(REQUEST[:1000], REQUEST[1000:400_000])
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 429")
        assert len(taken) == 1
        site.bodies.release(MAX_BODY - 50_000)

    serve(test, budget=MAX_BODY)


def test_a_worker_that_ends_answers_it(taken: list[LargeBody]) -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await acquainted(connect)
        await peer.send(REQUEST[:100_000])
        await until(lambda: len(taken) == 1)
        site.service.phase = Phase.DRAINING
        await peer.send(REQUEST[100_000:])
        head, body = await peer.answer()
        assert b"connection: close" in head
        assert body.endswith(DOUBLED)
        assert await asyncio.wait_for(peer.ended(), 5)

    serve(test)


def test_the_largest_ones_are_parsed(taken: list[LargeBody], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelpress.serving.fast_path.LARGEST_BYTES", VALUES.nbytes)

    async def test(site: Site, connect: Any) -> None:
        peer = await acquainted(connect)
        await peer.send(REQUEST)
        assert (await peer.answer())[1].endswith(DOUBLED)
        assert taken == []

    assert VALUES.nbytes < large_body.LARGEST_BYTES
    serve(test)
