"""Some fields of the spec are set, changed, reverted and removed on a real control plane.

tests/matrix/cluster does so with all of them.
"""

from collections.abc import Iterator

import pytest

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.field_edits import play
from tests.support.cluster.fields import FIELDS
from tests.support.cluster.fixtures import FACTS
from tests.support.cluster.sequence_runner import world
from tests.support.cluster.sequences import World

SOME = [*FIELDS][::1]


@pytest.fixture(scope="module")
def running(
    control_plane: ControlPlane, crd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    for name in ("first", "second"):
        body = {"metadata": {"name": name}, "handler": "any"}
        control_plane.admin.request("POST", "/apis/node.k8s.io/v1/runtimeclasses", body)
    with world(control_plane, tmp_path_factory.mktemp("fields")) as made:
        yield made
    for name in ("first", "second"):
        control_plane.admin.request("DELETE", f"/apis/node.k8s.io/v1/runtimeclasses/{name}")


def test_a_field_set_changed_reverted_and_removed_leaves_what_a_fresh_resource_has(
    running: World, request: pytest.FixtureRequest
) -> None:
    found = play(running, SOME)
    request.config.stash.setdefault(FACTS, []).append(
        f"{len(SOME)} of {len(FIELDS)} fields set, changed, reverted and removed: {len(found)} differences"
    )
    assert not found, "\n".join(found)
