"""A thousand random sequences of edits, faults and interventions on a real control plane."""

import os

import pytest

from tests.support.cluster.sequence_runner import running, tell_of_many
from tests.support.cluster.sequences import World

__all__ = ["running"]

LANES = 25
FIRST_SEED = int(os.environ.get("FIRST_SEED", "1000"))
SEQUENCES = int(os.environ.get("SEQUENCES", "1000"))


@pytest.mark.timeout(7200)
def test_a_thousand_random_sequences_settle_as_a_fresh_resource_does(
    running: World, request: pytest.FixtureRequest
) -> None:
    tell_of_many(running, range(FIRST_SEED, FIRST_SEED + LANES), -(-SEQUENCES // LANES), request)
