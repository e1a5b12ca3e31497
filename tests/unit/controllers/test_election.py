"""Candidates against a simulated API server and simulated clocks: never two that may write at once.

The real server is in tests/e2e/cluster/test_leader_election.py; only here can time be chosen.
"""

import asyncio
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError

from modelpress.controllers import lease
from modelpress.controllers.election import Election, LeaseLost, LeaseName
from modelpress.controllers.rest import ApiError, Request

WHERE = LeaseName("system", "operator")
FINE = ("answered", 0.0, 0.0)  # what becomes of a request, and how long it and its answer travel


@dataclass
class Simulation:
    """One lease with the optimistic concurrency of an API server, and the true time."""

    now: float = 0.0
    stored: dict[str, Any] | None = None
    version: int = 0
    fates: Iterator[tuple[str, float, float]] | None = None
    log: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None  # what others do before and after an answer travels

    def send(self, request: Request) -> dict[str, Any]:
        fate, there, back = FINE if self.fates is None else next(self.fates, FINE)
        self.now += there
        if fate == "lost":
            raise HTTPError("reset")
        try:
            return copy.deepcopy(self._serve(request))
        finally:
            if request.verb != "get":
                self.meanwhile()
            self.now += back
            if request.verb != "get":
                self.meanwhile()
            if fate == "answer lost":
                raise HTTPError("timed out")

    def _serve(self, request: Request) -> dict[str, Any]:
        self.log.append(request.verb)
        if request.verb == "get":
            if self.stored is None:
                raise ApiError(404, "NotFound", "no lease")
            return self.stored
        assert request.body is not None
        expected = request.body["metadata"].get("resourceVersion")
        if (self.stored is None) != (request.verb == "create"):
            raise ApiError(409 if self.stored else 404, "Conflict", request.verb)
        if self.stored is not None and expected != str(self.version):
            raise ApiError(409, "Conflict", "changed")
        self.version += 1
        metadata = {**request.body["metadata"], "resourceVersion": str(self.version)}
        self.stored = copy.deepcopy({**request.body, "metadata": metadata})
        return self.stored

    def candidate(self, identity: str, ahead: float = 0.0) -> Election:
        """Return a candidate whose clock is ahead of the true time."""
        return Election(self, WHERE, identity, lambda: self.now + ahead)  # type: ignore[arg-type]


def attempt(election: Election, simulation: Simulation, seconds: float) -> bool:
    simulation.now += seconds
    return election._attempt()


FATES = st.lists(
    st.tuples(
        st.sampled_from(["answered", "answered", "lost", "answer lost"]),
        st.integers(0, 12),
        st.integers(0, 12),
    ),
    max_size=40,
)


@given(
    clocks=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=20),
    fates=FATES,
)
def test_never_two_are_active_whatever_clocks_pauses_and_requests_do_in_a_simulation(
    clocks: tuple[float, float, float], steps: list[tuple[int, float]], fates: list[tuple[str, int, int]]
) -> None:
    simulation = Simulation(fates=iter(fates))
    candidates = [simulation.candidate(f"c{number}", ahead) for number, ahead in enumerate(clocks)]
    busy: list[Election] = []

    def look(one: Election) -> None:
        busy.append(one)
        one._attempt()
        busy.remove(one)
        assert sum(each.active() for each in candidates) <= 1, simulation.log

    def others() -> None:
        for one in candidates:
            if one not in busy:
                look(one)

    simulation.meanwhile = others
    for number, pause in steps:
        simulation.now += pause
        look(candidates[number])


def test_the_standby_takes_over_within_twelve_seconds_of_a_kill_in_a_simulation() -> None:
    for phase in range(20):  # of the looks of the standby beside the renewals of the other
        simulation = Simulation()
        first, second = simulation.candidate("first"), simulation.candidate("second", 1e6)
        assert attempt(first, simulation, 0)
        pause = phase / 20
        while not attempt(second, simulation, pause):
            assert simulation.now < 12
            pause = lease.LOOK_SECONDS
        assert lease.LEASE_SECONDS <= simulation.now <= 12


def test_a_lease_that_is_given_back_is_taken_at_once_in_a_simulation() -> None:
    simulation = Simulation()
    first, second = simulation.candidate("first"), simulation.candidate("second")
    assert attempt(first, simulation, 0)
    assert not attempt(second, simulation, 1)
    first.release()
    assert not first.active()
    assert attempt(second, simulation, 0)
    first.release()  # a lease of another stays
    assert attempt(second, simulation, 1)


def test_an_answer_that_is_lost_costs_nothing_in_a_simulation() -> None:
    simulation = Simulation()
    one = simulation.candidate("one")
    assert attempt(one, simulation, 0)
    simulation.fates = iter([FINE, ("answer lost", 0.0, 2.0)])
    assert not attempt(one, simulation, 2)
    assert "timed out" in (one.problem() or "")
    assert attempt(one, simulation, 1)
    assert one.problem() is None


def test_a_lease_that_is_deleted_is_made_again_in_a_simulation() -> None:
    simulation = Simulation()
    one = simulation.candidate("one")
    assert attempt(one, simulation, 0)
    simulation.stored = None
    assert attempt(one, simulation, 2)
    assert one.active()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "RENEWAL_PAUSE_SECONDS"):
        monkeypatch.setattr(lease, name, 0.001)


def test_work_begins_with_the_lease_and_gives_it_back_at_its_end_in_a_simulation(quick: None) -> None:
    simulation = Simulation()
    holder = simulation.candidate("holder")
    assert attempt(holder, simulation, 0)
    standby = simulation.candidate("standby")
    roles: list[str] = []

    async def work() -> None:
        roles.append(standby.role())

    async def main() -> None:
        waiting = asyncio.create_task(standby.hold(work))
        await asyncio.sleep(0.05)
        assert (roles, standby.role()) == ([], "standby")
        holder.release()
        await waiting

    asyncio.run(asyncio.wait_for(main(), 10))
    assert (roles, standby.role()) == (["active"], "standby")
    assert simulation.stored is not None
    assert "holderIdentity" not in simulation.stored["spec"]


@pytest.mark.parametrize("cause", ["taken by another", "no renewal", "stopped for long"])
def test_a_lost_lease_ends_the_work_in_a_simulation(quick: None, cause: str) -> None:
    simulation = Simulation()
    one = simulation.candidate("one")
    ended: list[str] = []

    async def work() -> None:
        if cause == "taken by another":
            assert simulation.stored is not None
            simulation.stored["spec"]["holderIdentity"] = "another"
        elif cause == "no renewal":
            simulation.fates = iter([("lost", 1.0, 0.0)] * 1000)
        else:
            simulation.now += 60
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(one.role())

    with pytest.raises(LeaseLost, match="system/operator"):
        asyncio.run(asyncio.wait_for(one.hold(work), 10))
    assert ended == ["standby"]


def test_an_error_of_the_work_gives_the_lease_back_in_a_simulation(quick: None) -> None:
    simulation = Simulation()

    async def work() -> None:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        asyncio.run(simulation.candidate("one").hold(work))
    assert simulation.candidate("two")._attempt()
