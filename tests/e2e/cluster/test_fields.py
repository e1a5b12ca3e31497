"""Some fields of the spec are set, changed, reverted and removed on a real control plane.

tests/matrix/cluster does so with all of them.
"""

import pytest

from tests.support.cluster.field_edits import tell_of_edits
from tests.support.cluster.fields import FIELDS
from tests.support.cluster.sequence_runner import running
from tests.support.cluster.sequences import World

__all__ = ["running"]

SOME = [*FIELDS][::10]


def test_a_field_set_changed_reverted_and_removed_leaves_what_a_fresh_resource_has(
    running: World, request: pytest.FixtureRequest
) -> None:
    tell_of_edits(running, SOME, request)
