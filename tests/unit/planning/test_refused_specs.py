"""What cannot be worked on or read makes nothing, and disturbs nothing that serves."""

from typing import Any

import pytest

from modelpress.planning.types import Plan
from tests.unit.planning.world import SPEC, World, ready_world

TWO_PODS = {"pipeline": 2, "podsPerReplica": 2}  # not supported yet


@pytest.mark.parametrize(
    ("spec", "reason", "text"),
    [
        ({"model": {}}, "InvalidSpec", "spec.model.uri"),
        ({**SPEC, "parallelism": TWO_PODS}, "NotSupportedYet", "spec.parallelism.podsPerReplica"),
        (
            {**SPEC, "worker": {"env": [{"name": "MODELPRESS_PORT", "value": "1"}]}},
            "InvalidPodSettings",
            "spec.worker.env: MODELPRESS_PORT",
        ),
        ({**SPEC, "job": {"env": [{"name": "HOME"}]}}, "InvalidPodSettings", "spec.job.env: HOME"),
    ],
)
def test_a_spec_that_cannot_be_worked_on_makes_nothing(spec: dict[str, Any], reason: str, text: str) -> None:
    world = World(spec)
    assert world.settle() == [["status"]]
    assert world.says("Stalled") == ("True", reason)
    assert text in world.condition("Stalled")["message"]
    assert world.status["selector"]
    assert world.plan() == Plan()


def test_an_unsupported_edit_leaves_the_current_revision_serving_and_scaling() -> None:
    world = ready_world()
    before = world.status["current"]
    world.edit(parallelism=TWO_PODS, replicas=3)
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.only("Deployment")["spec"]["replicas"] == 3
    assert world.status["current"] == before
    assert world.says("Ready") == ("False", "NotSupportedYet")
    world.edit(parallelism=None, replicas=2)
    world.settle()
    assert world.says("Ready") == ("True", "Available")


@pytest.mark.parametrize("part", ["worker", "job"])
@pytest.mark.parametrize(
    "settings",
    [
        {"env": [{"name": "A", "value": 1}]},
        {"env": [{"value": "1"}]},
        {"env": [{"name": 7}]},
        {"env": [{"name": "A", "valueFrom": "b"}]},
        {"resources": {"limits": 5}},
        {"resources": {"limits": ["memory"], "requests": "cpu"}},
        {"resources": {"limits": {"memory": ["1Gi"]}}},
    ],
)
@pytest.mark.parametrize("devices", [{"type": "CPU"}, {"type": "CPU", "resourceName": "example.com/slot"}])
def test_settings_of_a_wrong_shape_leave_the_current_revision_serving_and_scaling(
    part: str, settings: dict[str, Any], devices: dict[str, str]
) -> None:
    world = ready_world({**SPEC, "devices": devices})
    template = world.only("Deployment")["spec"]["template"]
    world.edit(**{part: settings}, replicas=7)
    assert world.settle() == [["apply Deployment digits", "status"]]
    deployment = world.only("Deployment")
    assert (deployment["spec"]["replicas"], deployment["spec"]["template"]) == (7, template)
    assert world.says("Stalled") == ("True", "InvalidSpec")
    assert f"spec.{part}." in world.condition("Stalled")["message"]


def test_an_unreadable_edit_leaves_everything_as_it_is() -> None:
    world = ready_world()
    before = world.status["current"]
    world.edit(model={"uri": 7})
    assert world.settle() == [["status"]]
    assert world.says("Stalled") == ("True", "InvalidSpec")
    assert world.says("Available") == ("True", "Available")
    assert world.status["current"] == before


def test_a_status_that_cannot_be_read_is_written_anew() -> None:
    world = ready_world()
    world.resource["status"] = {"conditions": "garbage", "current": 3}
    world.settle()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert world.status["current"]["name"] == world.revision_name()
