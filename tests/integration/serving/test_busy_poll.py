"""Staying awake for the next request: when, for how long, and that an idle worker sleeps."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import psutil
import pytest

from modelpress.serving import busy_poll
from modelpress.serving.busy_poll import BusyPoll
from tests.support.serving.artifacts import Worker

SOON, LATE = 190e-6, 210e-6  # seconds until the next request

ASKED = 40


class Clock:
    """Time that stands still; counts how often it is asked, which is once in each turn that looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.looks = 0
        monkeypatch.setattr(busy_poll, "time", SimpleNamespace(monotonic=self._read))

    def _read(self) -> float:
        self.looks += 1
        return self.now


class Caller:
    """One client that asks again some time after each answer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.poll = BusyPoll()
        self.poll.idle(clock.now)
        self.loop = asyncio.new_event_loop()

    def ask(self, times: int, after: float = SOON) -> None:
        """Ask so often within one turn of the loop."""

        async def asking() -> None:
            for _ in range(times):
                self.clock.now += after
                self.poll.arrived(self.clock.now)
                self.poll.idle(self.clock.now)

        self.loop.run_until_complete(asking())

    def looks(self) -> int:
        """Return how many of the next five turns of the loop looked for a request."""

        async def turns() -> int:
            before = self.clock.looks
            for _ in range(5):
                await asyncio.sleep(0)
            return self.clock.looks - before

        return self.loop.run_until_complete(turns())

    def miss(self) -> None:
        """Let the moment pass without a request."""
        self.clock.now += LATE
        self.looks()


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    caller = Caller(Clock(monkeypatch))
    yield caller
    caller.loop.close()


def test_the_loop_stays_awake_after_eight_requests_that_came_soon(caller: Caller) -> None:
    caller.ask(7)
    assert caller.looks() == 0
    caller.ask(1)
    assert caller.looks() == 5


def test_a_late_request_starts_the_count_again(caller: Caller) -> None:
    caller.ask(7)
    caller.ask(1, LATE)
    caller.ask(7)
    assert caller.looks() == 0
    caller.ask(1)
    assert caller.looks() == 5


def test_it_sleeps_when_no_request_came_in_time(caller: Caller) -> None:
    caller.ask(8)
    assert caller.looks() == 5
    caller.miss()
    assert caller.looks() == 0


def test_a_moment_in_vain_doubles_what_is_needed_and_a_good_one_halves_it(caller: Caller) -> None:
    caller.ask(8)
    caller.miss()
    caller.ask(1, LATE)
    caller.ask(15)
    assert caller.looks() == 0
    caller.ask(1)
    assert caller.looks() == 5
    caller.ask(1)  # comes while it looks
    caller.miss()  # 16 are needed again
    caller.ask(1, LATE)
    caller.ask(16)
    assert caller.looks() == 5


def test_what_is_needed_has_bounds(caller: Caller) -> None:
    for needed in [8 * 2**number for number in range(10)] + [4096]:
        caller.ask(needed)
        assert caller.looks() == 5
        caller.miss()
        caller.ask(1, LATE)
        caller.ask(min(2 * needed, 4096) - 1)
        assert caller.looks() == 0
        caller.ask(1, LATE)
    caller.ask(4096)
    caller.ask(20)  # while it looks
    caller.ask(1, LATE)
    caller.ask(7)
    assert caller.looks() == 0
    caller.ask(1)
    assert caller.looks() == 5


def test_a_request_that_the_loop_was_too_busy_to_see_in_time_is_no_good_one(caller: Caller) -> None:
    caller.ask(8)
    caller.miss()
    caller.ask(1, LATE)
    caller.ask(16)
    caller.ask(1, LATE)
    caller.ask(15)
    assert caller.looks() == 0
    caller.ask(1)
    assert caller.looks() == 5


def test_requests_that_share_a_turn_plan_one(caller: Caller) -> None:
    caller.ask(50)
    assert caller.looks() == 5


def test_an_idle_worker_sleeps(digits: Worker) -> None:
    body = json.dumps({"instances": [[0.5] * 64]}).encode()
    head = b"POST /v1/models/digits:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    url = httpx.URL(digits.url)
    with socket.create_connection((url.host, url.port), timeout=30) as caller:
        caller.sendall((head + body) * ASKED)  # no client asks sooner
        answers = b""
        while answers.count(b"HTTP/1.1 200") < ASKED:
            answers += caller.recv(65536)
        process = psutil.Process(digits.process.pid)
        before = sum(process.cpu_times()[:2])
        time.sleep(1)
        used = sum(process.cpu_times()[:2]) - before
    assert used < 0.5  # seconds, of which a loop that never sleeps takes all it can get
