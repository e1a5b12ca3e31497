"""The PodDisruptionBudget: there while two pods or more are expected, of no consequence to anything else."""

import pytest

from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, ready_cluster

BUDGET = ("PodDisruptionBudget", "digits")
OLD_OWNER = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "ModelDeployment",
    "name": "digits",
    "uid": "old",
}


def test_it_lets_one_pod_go_at_a_time_and_the_broken_ones_always() -> None:
    cluster = ready_cluster()
    assert cluster.only("PodDisruptionBudget")["spec"] == {
        "maxUnavailable": 1,
        "selector": cluster.only("Deployment")["spec"]["selector"],
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


@pytest.mark.parametrize("replicas", [0, 1])
def test_one_pod_has_none(replicas: int) -> None:
    cluster = ready_cluster({**SPEC, "replicas": replicas})
    assert BUDGET not in cluster.objects


def test_an_autoscaler_between_one_and_two_adds_and_removes_it_and_changes_nothing_else() -> None:
    cluster = ready_cluster()
    for _ in range(3):
        before = len(cluster.notes)
        cluster.edit(replicas=1)
        assert cluster.step() == ["apply Deployment digits", "delete PodDisruptionBudget digits", "status"]
        cluster.roll_out()
        cluster.settle()
        assert cluster.plan() == Plan()
        cluster.edit(replicas=2)
        assert cluster.step() == ["apply Deployment digits", "apply PodDisruptionBudget digits", "status"]
        assert cluster.says("Ready") == ("True", "Available")
        assert cluster.says("Reconciling") == ("False", "Settled")
        cluster.roll_out()
        cluster.settle()
        assert len(cluster.notes) == before


def test_one_that_is_still_going_away_holds_nothing_up() -> None:
    cluster = ready_cluster()
    cluster.only("PodDisruptionBudget")["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    cluster.edit(replicas=3)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.says("Reconciling") == ("False", "Settled")
    del cluster.objects[BUDGET]
    assert cluster.step() == ["apply PodDisruptionBudget digits"]


def test_that_of_an_earlier_resource_is_left_to_go_and_holds_nothing_up() -> None:
    cluster = ready_cluster()
    cluster.only("PodDisruptionBudget")["metadata"]["ownerReferences"] = [{**OLD_OWNER, "controller": True}]
    cluster.edit(replicas=3)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert cluster.plan() == Plan()


@pytest.mark.parametrize("owners", [[], [{**OLD_OWNER, "kind": "Other", "controller": True}]])
def test_that_of_somebody_else_is_left_alone_and_an_event_tells_once(owners: list[dict[str, str]]) -> None:
    cluster = ready_cluster()
    metadata = cluster.only("PodDisruptionBudget")["metadata"]
    metadata |= {"ownerReferences": owners, "labels": {}}
    cluster.edit(replicas=3)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.says("Stalled") == ("False", "Settled")
    (told,) = cluster.plan().events
    assert (told.type, told.reason, told.once) == ("Warning", "DisruptionBudgetRefused", True)
    assert "PodDisruptionBudget digits" in told.message
    cluster.edit(replicas=1)
    cluster.settle()
    assert cluster.plan() == Plan(), "none is expected"
    assert BUDGET in cluster.objects


def test_one_that_an_orphaning_deletion_left_behind_goes_with_the_second_pod() -> None:
    cluster = ready_cluster()
    cluster.only("PodDisruptionBudget")["metadata"]["ownerReferences"] = []
    cluster.edit(replicas=1)
    assert "delete PodDisruptionBudget digits" in cluster.step()


def test_it_follows_the_replicas_also_while_nothing_new_may_be_made() -> None:
    cluster = ready_cluster()
    cluster.edit(parallelism={"pipeline": 2, "podsPerReplica": 2}, replicas=1)
    assert "delete PodDisruptionBudget digits" in cluster.step()
    assert cluster.says("Stalled") == ("True", "NotSupportedYet")


def test_a_resource_without_pods_yet_has_none() -> None:
    cluster = FakeCluster()
    cluster.settle()
    assert BUDGET not in cluster.objects
