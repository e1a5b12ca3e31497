"""Events of watches that the operator never sees, or sees twice: all is made good.

tests/matrix/cluster takes each event of a whole life; these are some of them.
"""

import random
from functools import partial
from pathlib import Path

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.event_faults import event_faults
from tests.support.cluster.life import failures, repeated_jobs

EVENTS = (
    "modeldeployments MODIFIED",
    "modeldeployments DELETED",
    "jobs ADDED",
    "pods MODIFIED",
    "modeldeployments ADDED",
    "deployments DELETED",
)


def test_some_events_may_be_lost_and_some_may_come_twice(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    with event_faults(control_plane, kubeconfig, tmp_path) as faults:
        chance = random.Random(16)
        some = [faults.number_of(event, chance) for event in EVENTS]
        failed = failures(partial(faults.ends_well, "lost", 0), some[:4], 4)
        failed += failures(partial(faults.ends_well, "twice", 2), some[4:], 2)
    print(f"watch events lost or shown twice: {len(some) - len(failed)} of {len(some)} converge")
    assert failed == []
    assert len(faults.tap.met) >= 4, "how often objects are MODIFIED is chance"
    assert repeated_jobs(control_plane, "lost-") == repeated_jobs(control_plane, "twice-") == []
