"""Every field of the spec is set, changed, reverted and removed on a real control plane."""

import pytest

from tests.support.cluster.field_edits import tell_of_edits
from tests.support.cluster.fields import FIELDS
from tests.support.cluster.sequence_runner import running
from tests.support.cluster.sequences import World

__all__ = ["running"]


@pytest.mark.timeout(1800)
def test_every_field_set_changed_reverted_and_removed_leaves_what_a_fresh_resource_has(
    running: World, request: pytest.FixtureRequest
) -> None:
    tell_of_edits(running, [*FIELDS], request)
