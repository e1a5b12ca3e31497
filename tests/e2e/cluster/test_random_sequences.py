"""Random sequences of edits, faults and interventions on a real control plane: each settles as it must.

tests/matrix/cluster runs a thousand of them. One that fails is printed as a list of steps: put it into FOUND.
"""

import os
from collections.abc import Iterator

import pytest

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.fixtures import FACTS
from tests.support.cluster.sequence_runner import play_many, world
from tests.support.cluster.sequences import World

SEEDS = range(20)
FOUND: dict[str, list[str]] = {}


@pytest.fixture(scope="module")
def running(
    control_plane: ControlPlane, crd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with world(control_plane, tmp_path_factory.mktemp("sequences")) as made:
        yield made


def test_random_sequences_settle_as_a_fresh_resource_does(
    running: World, request: pytest.FixtureRequest
) -> None:
    first = int(os.environ.get("FIRST_SEED", "0"))
    seeds, each = [first + n for n in SEEDS], int(os.environ.get("SEQUENCES", "1"))
    played, failures = play_many(running, seeds, each)
    fact = f"seeds {seeds[0]}..{seeds[-1]}: {played} random sequences, {len(failures)} seeds with a failure"
    request.config.stash.setdefault(FACTS, []).append(fact)
    assert not failures, "\n\n".join(failures)
