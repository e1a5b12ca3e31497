"""Each kind of child is deleted in each phase of a resource's life, on a real control plane.

test_manual_edits has the edits of a resource that serves, tests/matrix/cluster those of all phases.
"""

import pytest

from tests.support.cluster.child_deeds import DELETIONS, tell_of_deeds
from tests.support.cluster.sequence_runner import running
from tests.support.cluster.sequences import World

__all__ = ["running"]


def test_a_deleted_child_comes_back_in_each_phase(running: World, request: pytest.FixtureRequest) -> None:
    tell_of_deeds(running, DELETIONS, request)
