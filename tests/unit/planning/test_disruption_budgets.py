"""The PodDisruptionBudget: there while two pods or more are wanted, of no consequence to anything else."""

import pytest

from modelpress.planning.types import Plan
from tests.unit.planning.world import SPEC, World, ready_world

BUDGET = ("PodDisruptionBudget", "digits")
OLD_OWNER = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "ModelDeployment",
    "name": "digits",
    "uid": "old",
}


def test_it_lets_one_pod_go_at_a_time_and_the_broken_ones_always() -> None:
    world = ready_world()
    assert world.only("PodDisruptionBudget")["spec"] == {
        "maxUnavailable": 1,
        "selector": world.only("Deployment")["spec"]["selector"],
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


@pytest.mark.parametrize("replicas", [0, 1])
def test_one_pod_has_none(replicas: int) -> None:
    world = ready_world({**SPEC, "replicas": replicas})
    assert BUDGET not in world.objects


def test_an_autoscaler_between_one_and_two_adds_and_removes_it_and_changes_nothing_else() -> None:
    world = ready_world()
    for _ in range(3):
        before = len(world.notes)
        world.edit(replicas=1)
        assert world.step() == ["apply Deployment digits", "delete PodDisruptionBudget digits", "status"]
        world.roll_out()
        world.settle()
        assert world.plan() == Plan()
        world.edit(replicas=2)
        assert world.step() == ["apply Deployment digits", "apply PodDisruptionBudget digits", "status"]
        assert world.says("Ready") == ("True", "Available")
        assert world.says("Reconciling") == ("False", "Settled")
        world.roll_out()
        world.settle()
        assert len(world.notes) == before


def test_one_that_is_still_going_away_holds_nothing_up() -> None:
    world = ready_world()
    world.only("PodDisruptionBudget")["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    world.edit(replicas=3)
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.says("Reconciling") == ("False", "Settled")
    del world.objects[BUDGET]
    assert world.step() == ["apply PodDisruptionBudget digits"]


def test_that_of_an_earlier_resource_is_left_to_go_and_holds_nothing_up() -> None:
    world = ready_world()
    world.only("PodDisruptionBudget")["metadata"]["ownerReferences"] = [{**OLD_OWNER, "controller": True}]
    world.edit(replicas=3)
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.says("Reconciling") == ("False", "Settled")
    assert world.plan() == Plan()


@pytest.mark.parametrize("owners", [[], [{**OLD_OWNER, "kind": "Other", "controller": True}]])
def test_that_of_somebody_else_is_left_alone_and_an_event_tells_once(owners: list[dict[str, str]]) -> None:
    world = ready_world()
    metadata = world.only("PodDisruptionBudget")["metadata"]
    metadata |= {"ownerReferences": owners, "labels": {}}
    world.edit(replicas=3)
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.says("Ready") == ("True", "Available")
    assert world.says("Stalled") == ("False", "Settled")
    (told,) = world.plan().events
    assert (told.type, told.reason, told.once) == ("Warning", "DisruptionBudgetRefused", True)
    assert "PodDisruptionBudget digits" in told.message
    world.edit(replicas=1)
    world.settle()
    assert world.plan() == Plan(), "none is wanted"
    assert BUDGET in world.objects


def test_it_follows_the_replicas_also_while_nothing_new_may_be_made() -> None:
    world = ready_world()
    world.edit(parallelism={"pipeline": 2, "podsPerReplica": 2}, replicas=1)
    assert "delete PodDisruptionBudget digits" in world.step()
    assert world.says("Stalled") == ("True", "NotSupportedYet")


def test_a_resource_without_pods_yet_has_none() -> None:
    world = World()
    world.settle()
    assert BUDGET not in world.objects
