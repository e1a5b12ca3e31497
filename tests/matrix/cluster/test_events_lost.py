"""Each event that a ModelDeployment's life shows the operator is lost in turn, and shown twice in turn."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.event_faults import EventFaults, event_faults
from tests.support.cluster.life import failures, repeated_jobs

AT_ONCE = 12  # lives, all of one operator


@pytest.fixture(scope="module")
def faults(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EventFaults]:
    with event_faults(control_plane, kubeconfig, tmp_path_factory.mktemp("events")) as made:
        yield made


@pytest.mark.parametrize(("word", "times"), [("lost", 0), ("twice", 2)])
def test_each_event_may_be_lost_or_come_twice(
    faults: EventFaults, control_plane: ControlPlane, word: str, times: int
) -> None:
    events = faults.chapters[-1].count
    failed = failures(partial(faults.ends_well, word, times), range(1, events + 1), AT_ONCE)
    repeated = repeated_jobs(control_plane, f"{word}-")
    met = sum(namespace.startswith(f"{word}-") for namespace in faults.tap.met)
    converged = f"{events - len(failed)} of {events} converge"
    print(f"watch events {word}: {converged}, {len(repeated)} duplicate Jobs; {met} of them came again")
    assert (failed, repeated) == ([], [])
