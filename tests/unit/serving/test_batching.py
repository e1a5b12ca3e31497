import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from modelpress.serving.batching.queue import Batcher, Limits
from modelpress.serving.batching.request import Answer, Request
from modelpress.serving.errors import DeadlineExceeded, Overloaded, TooLarge
from modelpress.serving.executors.base import Arrays
from modelpress.serving.placement.parallelism import Done


class HeldDevice:
    """A device that is busy until the test releases it: the one part of these tests that is not real."""

    depth = 1

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self._done: list[Done] = []

    def start(self, inputs: Arrays, done: Done, alone: bool) -> None:
        self.batches.append(list(inputs))
        self._done.append(done)

    def release(self) -> None:
        self._done.pop(0)([self.batches[len(self.batches) - len(self._done) - 1][0] * 2])

    def close(self) -> None:
        """Nothing to free."""


class Sizes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def batch(self, size: int, queue_seconds: float, compute_seconds: float) -> None:
        assert queue_seconds >= 0
        assert compute_seconds >= 0
        self.sizes.append(size)


def limits(**changes: Any) -> Limits:
    values = {
        "max_batch_size": 8,
        "max_delay_seconds": 0.0,
        "timeout_seconds": 10.0,
        "max_waiting_rows": 1000,
        "max_waiting_bytes": 10**6,
        **changes,
    }
    return Limits(**values)


class Caller:
    """Takes an answer and forgets it."""

    def __call__(self, answer: Answer) -> None:
        """Forget it."""


class Client:
    """Submits to a batcher and keeps the answers."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.answers: dict[str, Answer] = {}

    def ask(self, name: str, *values: float, width: int = 1) -> Request:
        rows = np.repeat(np.array(values, "float32").reshape(-1, 1), width, axis=1)
        return self.batcher.submit([rows], lambda answer: self.answers.__setitem__(name, answer))

    def values(self, name: str) -> list[float]:
        answer = self.answers[name]
        assert isinstance(answer, list), answer
        return [float(row[0]) for row in answer[0]]


async def turn() -> None:
    """Let the loop run what is due."""
    for _ in range(5):
        await asyncio.sleep(0)


def with_device(test: Callable[[HeldDevice, Client], Coroutine[Any, Any, None]], **changes: Any) -> None:
    async def run() -> None:
        device = HeldDevice()
        client = Client(Batcher(device, limits(**changes), Sizes()))
        await test(device, client)
        client.batcher.close()

    asyncio.run(run())


def shapes(device: HeldDevice) -> list[tuple[int, ...]]:
    return [batch[0].shape for batch in device.batches]


def test_requests_of_one_turn_share_a_batch_whatever_their_row_counts() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("a", 1, 2, 3)
        client.ask("b", 4)
        client.ask("c", 5, 6)
        await turn()
        assert shapes(device) == [(6, 1)]
        device.release()
        assert [client.values(name) for name in "abc"] == [[2, 4, 6], [8], [10, 12]]

    with_device(test)


def test_what_waits_while_the_device_is_busy_becomes_the_next_batch() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("a", 1)
        await turn()
        for number in range(5):
            client.ask(f"w{number}", number)
            await turn()
        assert shapes(device) == [(1, 1)]
        device.release()
        await turn()
        assert shapes(device) == [(1, 1), (5, 1)]

    with_device(test)


def test_a_batch_never_has_more_rows_than_the_maximum_and_no_small_request_is_split() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("a", *range(5))
        client.ask("b", *range(5))
        client.ask("c", *range(3))
        await turn()
        device.release()
        await turn()
        device.release()
        assert shapes(device) == [(5, 1), (8, 1)]
        assert client.values("b") == [0, 2, 4, 6, 8]

    with_device(test)


def test_rows_of_different_shapes_do_not_share_a_batch_and_the_oldest_goes_first() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("a", 1, width=2)
        client.ask("b", 2, width=3)
        client.ask("c", 3, width=2)
        await turn()
        device.release()
        await turn()
        device.release()
        assert shapes(device) == [(2, 2), (1, 3)]
        assert [client.values(name) for name in "abc"] == [[2], [4], [6]]

    with_device(test)


def test_a_request_larger_than_a_batch_is_computed_in_several_and_joined_in_order() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("big", *range(19))
        client.ask("small", 50)
        await turn()
        for _ in range(3):
            device.release()
            await turn()
        assert shapes(device) == [(8, 1), (8, 1), (4, 1)]  # the small one shares the last
        assert client.values("big") == [2 * value for value in range(19)]
        assert client.values("small") == [100]

    with_device(test)


def test_large_requests_take_turns_with_all_others() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("huge", *range(8 * 200))
        client.ask("huge too", *range(8 * 200), width=2)  # in another group
        await turn()
        for number in range(20):
            name = f"small {number}"
            client.ask(name, number)
            for _ in range(5):  # its own batch, and at most two of each of the others before
                device.release()
                await turn()
            assert client.values(name) == [2 * number]
        for _ in range(400):
            if {"huge", "huge too"} <= set(client.answers):
                break
            device.release()
            await turn()
        assert client.values("huge") == client.values("huge too") == [2.0 * value for value in range(8 * 200)]
        assert sum(len(batch[0]) for batch in device.batches) == 2 * 8 * 200 + 20

    with_device(test, max_waiting_rows=10_000)


def test_a_request_as_large_as_can_be_leaves_half_of_the_queue_to_others() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("huge", *range(8 * 256))
        await turn()
        for number in range(16):
            client.ask(f"small {number}", number)
        with pytest.raises(Overloaded):
            client.ask("one more", 1)
        with pytest.raises(Overloaded):
            client.ask("huge too", *range(9))
        for _ in range(4):
            device.release()
            await turn()
        assert {f"small {number}" for number in range(16)} <= set(client.answers)

    with_device(test, max_waiting_rows=32)


def test_a_request_of_too_many_batches_is_refused() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        with pytest.raises(TooLarge, match="has 2049 rows; at most 2048 are accepted"):
            client.ask("huge", *range(8 * 256 + 1))

    with_device(test)


@pytest.mark.parametrize("changes", [{"max_waiting_rows": 10}, {"max_waiting_bytes": 40}])
def test_a_full_queue_refuses_and_takes_again_when_rows_leave(changes: dict[str, int]) -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("running", 0)
        await turn()
        client.ask("a", *range(8))
        with pytest.raises(Overloaded, match="try again later"):
            client.ask("b", *range(3))
        client.ask("c", 1, 2)
        device.release()
        await turn()
        client.ask("b", *range(3))
        device.release()
        await turn()
        device.release()
        assert client.values("b") == [0, 2, 4]
        assert client.batcher.waiting_rows == client.batcher.waiting_bytes == 0

    with_device(test, **changes)


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("big", *range(20))
        await turn()
        assert shapes(device) == [(8, 1)]

    with_device(test, max_waiting_rows=10)


def test_a_deadline_answers_what_waits_and_what_is_computed_and_drops_the_rows() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("running", 1)
        await turn()
        client.ask("waiting", 2)
        await asyncio.sleep(0.2)
        for name in ("running", "waiting"):
            assert isinstance(client.answers[name], DeadlineExceeded)
        client.ask("next", 3)
        device.release()
        await turn()
        assert [batch[0].item() for batch in device.batches] == [1, 3]
        device.release()
        assert client.values("next") == [6]

    with_device(test, timeout_seconds=0.05)


def test_rows_of_callers_that_left_are_not_computed() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("running", 1)
        await turn()
        gone = client.ask("gone", 2)
        client.ask("stays", 3)
        client.batcher.abandon(gone)
        device.release()
        await turn()
        assert [batch[0].ravel().tolist() for batch in device.batches] == [[1], [3]]
        device.release()
        assert "gone" not in client.answers
        assert client.batcher.waiting_rows == 0

    with_device(test)


def test_rows_of_callers_that_left_take_no_place_in_the_queue() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("running", 1)
        await turn()
        for _ in range(100):
            client.batcher.abandon(client.ask("gone", *range(10)))
        client.ask("stays", *range(10))
        client.ask("other", *range(5))  # the half that no large request can have
        with pytest.raises(Overloaded):
            client.ask("too many", 1)
        with pytest.raises(Overloaded):
            client.ask("too large", *range(10))
        assert client.batcher.waiting_rows == 15
        assert client.batcher.waiting_bytes == 60
        for _ in range(3):
            device.release()
            await turn()
        assert client.values("stays") == [2 * value for value in range(10)]
        assert (client.batcher.waiting_rows, client.batcher.waiting_bytes) == (0, 0)

    with_device(test, max_waiting_rows=10)


@pytest.mark.parametrize("busy", [True, False])
def test_nothing_of_callers_that_left_is_kept(busy: bool) -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        if busy:
            client.ask("running", 1)
            await turn()
        kept: list[weakref.ref[Any]] = []
        for _ in range(10):
            rows, caller = np.zeros((20, 1), "float32"), Caller()
            kept += [weakref.ref(rows), weakref.ref(caller)]
            client.batcher.abandon(client.batcher.submit([rows], caller))
        del rows, caller
        assert not [ref for ref in kept if ref() is not None]
        await turn()
        assert len(device.batches) == busy

    with_device(test)


def test_rows_of_callers_that_left_do_not_end_a_batch() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("running", 1)
        await turn()
        client.ask("a", 1, 2, 3, 4)
        gone = client.ask("gone", *range(7))
        client.ask("b", 5, 6, 7, 8)
        client.batcher.abandon(gone)
        device.release()
        await turn()
        assert shapes(device) == [(1, 1), (8, 1)]

    with_device(test)


def test_the_observer_hears_of_every_batch() -> None:
    async def run() -> None:
        device, observer = HeldDevice(), Sizes()
        client = Client(Batcher(device, limits(), observer))
        client.ask("a", *range(11))
        await turn()
        device.release()
        await turn()
        device.release()
        assert observer.sizes == [8, 3]

    asyncio.run(run())
