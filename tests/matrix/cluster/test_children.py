"""Each kind of child is deleted and edited in each phase of a resource's life, on a real control plane."""

import pytest

from tests.support.cluster.child_deeds import DELETIONS, EDITS, tell_of_deeds
from tests.support.cluster.sequence_runner import running
from tests.support.cluster.sequences import World

__all__ = ["running"]


@pytest.mark.timeout(1800)
def test_a_child_comes_back_in_each_phase(running: World, request: pytest.FixtureRequest) -> None:
    tell_of_deeds(running, [*DELETIONS, *EDITS], request)
