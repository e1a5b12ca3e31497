"""Which rows a batch is made of, and when: delays, whose turn it is, and what is forgotten."""

import asyncio
import gc

from modelpress.serving.batching.request import Request
from tests.unit.serving.test_batching import Client, HeldDevice, shapes, turn, with_device


def test_a_delay_waits_for_more_rows_and_a_full_batch_does_not_wait() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("a", 1)
        await turn()
        assert not device.batches
        client.ask("b", *range(7))
        await turn()
        assert shapes(device) == [(8, 1)]
        device.release()
        client.ask("c", 1)
        await asyncio.sleep(0.2)
        assert shapes(device) == [(8, 1), (1, 1)]

    with_device(test, max_delay_seconds=0.05)


def test_a_delay_is_not_cut_short_by_callers_that_left_or_rows_of_other_shapes() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        left = client.ask("left", 1)
        await turn()
        left.arrived -= 1000  # it has waited long enough
        client.ask("a", *range(4))
        client.batcher.abandon(left)
        client.ask("wide", *range(4), width=2)
        await turn()
        assert not device.batches
        client.ask("b", *range(4))
        await turn()
        assert shapes(device) == [(8, 1)]

    with_device(test, max_delay_seconds=500, timeout_seconds=2000.0)


def test_a_full_batch_goes_before_older_rows_that_still_wait_for_more() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        old = client.ask("old", 1)
        client.ask("full", *range(8), width=2)
        await turn()
        assert shapes(device) == [(8, 2)]
        device.release()
        client.ask("full again", *range(8), width=2)
        old.arrived -= 1000  # its delay is over
        await turn()
        assert shapes(device) == [(8, 2), (1, 1)]

    with_device(test, max_delay_seconds=500, timeout_seconds=2000.0)


def test_the_oldest_request_goes_first_also_after_others_of_its_shape() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("busy", 0)
        await turn()
        for name, width in (("a", 1), ("b", 1), ("c", 2), ("d", 1)):
            client.ask(name, *range(8), width=width)
        for _ in range(4):
            device.release()
            await turn()
        assert shapes(device) == [(1, 1), (8, 1), (8, 1), (8, 2), (8, 1)]

    with_device(test)


def test_callers_that_leave_a_busy_worker_are_forgotten() -> None:
    async def test(device: HeldDevice, client: Client) -> None:
        client.ask("busy", 0)
        await turn()
        client.ask("stays", 1)
        for _ in range(1000):
            client.batcher.abandon(client.ask("left", 1))
        assert sum(isinstance(found, Request) for found in gc.get_objects()) < 10

    gc.collect()
    with_device(test)
