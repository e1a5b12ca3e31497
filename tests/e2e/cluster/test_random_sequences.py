"""Random sequences of edits, faults and interventions on a real control plane: each settles as it must.

tests/matrix/cluster plays a thousand. One that fails is printed as a list of steps, which belongs into FOUND.
"""

import pytest

from tests.support.cluster.sequence_runner import running, tell_of_many
from tests.support.cluster.sequences import World

__all__ = ["running"]

SEEDS = range(12)
FOUND: dict[str, list[str]] = {
    "a budget that its resource left behind": ["scale 3", "settle", "delete orphan", "scale 1", "create"],
    "a revision without an owner beside a refused one": [
        *("settle", "edit pods=refused", "edit child: no owner of controllerrevisions"),
        *("delete one of deployments", "settle"),
    ],
}


def test_random_sequences_settle_as_a_fresh_resource_does(
    running: World, request: pytest.FixtureRequest
) -> None:
    tell_of_many(running, SEEDS, 1, request, FOUND)
