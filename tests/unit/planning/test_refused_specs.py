"""What cannot be worked on or read makes nothing, and disturbs nothing that serves."""

from typing import Any

import pytest

from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, ready_cluster

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
    cluster = FakeCluster(spec)
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", reason)
    assert text in cluster.condition("Stalled")["message"]
    assert cluster.status["selector"]
    assert cluster.plan() == Plan()


def test_an_unsupported_edit_leaves_the_current_revision_serving_and_scaling() -> None:
    cluster = ready_cluster()
    before = cluster.status["current"]
    cluster.edit(parallelism=TWO_PODS, replicas=3)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.only("Deployment")["spec"]["replicas"] == 3
    assert cluster.status["current"] == before
    assert cluster.says("Ready") == ("False", "NotSupportedYet")
    cluster.edit(parallelism=None, replicas=2)
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")


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
    cluster = ready_cluster({**SPEC, "devices": devices})
    template = cluster.only("Deployment")["spec"]["template"]
    cluster.edit(**{part: settings}, replicas=7)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    deployment = cluster.only("Deployment")
    assert (deployment["spec"]["replicas"], deployment["spec"]["template"]) == (7, template)
    assert cluster.says("Stalled") == ("True", "InvalidSpec")
    assert f"spec.{part}." in cluster.condition("Stalled")["message"]


def test_an_unreadable_edit_leaves_everything_as_it_is() -> None:
    cluster = ready_cluster()
    before = cluster.status["current"]
    cluster.edit(model={"uri": 7})
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", "InvalidSpec")
    assert cluster.says("Available") == ("True", "Available")
    assert cluster.status["current"] == before


def test_a_status_that_cannot_be_read_is_written_anew() -> None:
    cluster = ready_cluster()
    cluster.resource["status"] = {"conditions": "garbage", "current": 3}
    cluster.settle()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.status["current"]["name"] == cluster.revision_name()
