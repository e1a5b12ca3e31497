"""spec.service: what of it stands on the Service, what others may add, and what an edit does."""

from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.types import Plan
from tests.unit.planning.world import SPEC, World, ready_world

CHOSEN: dict[str, Any] = {
    "type": "LoadBalancer",
    "labels": {"team": "vision", names.NAME_LABEL: "other"},
    "annotations": {"example.com/internal": "true", names.SETTINGS_ANNOTATION: "mine"},
}


def service(world: World) -> dict[str, Any]:
    return world.only("Service")


def test_type_labels_and_annotations_are_those_of_the_spec_and_ours_win() -> None:
    world = ready_world({**SPEC, "service": CHOSEN})
    metadata = service(world)["metadata"]
    assert service(world)["spec"]["type"] == "LoadBalancer"
    assert metadata["labels"]["team"] == "vision"
    assert metadata["labels"][names.NAME_LABEL] == "digits"
    assert metadata["annotations"]["example.com/internal"] == "true"
    assert metadata["annotations"][names.SETTINGS_ANNOTATION] != "mine"


@pytest.mark.parametrize(
    "edit",
    [
        CHOSEN,
        {"type": "NodePort"},
        {"labels": {"team": "audio"}},
        {"annotations": {"example.com/internal": "false"}},
    ],
)
def test_an_edit_is_applied_at_once_and_restarts_nothing(edit: dict[str, Any]) -> None:
    world = ready_world()
    world.edit(service=edit)
    assert world.settle() == [["apply Service digits", "status"]]
    assert world.says("Ready") == ("True", "Available")
    assert world.plan() == Plan()


@pytest.mark.parametrize("after", [None, {"type": "LoadBalancer"}, {**CHOSEN, "labels": {}}])
def test_what_is_taken_out_of_the_spec_is_applied_though_nothing_is_missing(after: Any) -> None:
    world = ready_world({**SPEC, "service": CHOSEN})
    world.edit(service=after)
    assert world.settle() == [["apply Service digits", "status"]]
    assert "team" not in service(world)["metadata"]["labels"]


def test_what_a_cloud_adds_is_no_drift() -> None:
    for spec in (SPEC, {**SPEC, "service": CHOSEN}):
        world = ready_world(spec)
        body = service(world)
        body["metadata"]["labels"]["cloud"] = "a"
        body["metadata"].setdefault("annotations", {})["cloud.example.com/address"] = "10.0.0.1"
        body["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
        body["spec"] |= {"clusterIP": "10.0.0.2", "externalTrafficPolicy": "Cluster"}
        body["spec"]["ports"][0]["nodePort"] = 30080
        assert world.plan() == Plan()


def test_a_service_without_settings_is_the_one_of_earlier_releases() -> None:
    assert "annotations" not in service(ready_world())["metadata"]
