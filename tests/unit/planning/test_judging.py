"""A rollout judges the revision: a full cluster is no fault of it, and without a pod is no verdict."""

import copy
from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.children.objects import format_time
from modelpress.planning.rollouts.revisions import with_restored
from modelpress.planning.types import Plan
from modelpress.planning.view import View
from tests.unit.planning.fake_cluster import FakeCluster, ready_cluster, said

NO_DEVICE = "0/1 nodes are available: 1 Insufficient example.com/slot"
EDIT = {"env": [{"name": "GREETING", "value": "hello"}]}


def unschedulable(cluster: FakeCluster, message: str = NO_DEVICE) -> dict[str, Any]:
    """Add a pod of the Deployment's template for which the scheduler finds no node."""
    said_so = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return cluster.add_worker(False, conditions=[said_so])


def complete_at_zero(cluster: FakeCluster) -> None:
    """Let the Deployment controller find a rollout of no pods complete, as it does."""
    deployment = cluster.observe_deployment()
    deployment["status"]["conditions"] = [
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    ]


def scaled_up_while_rolling(ready: int, starting: int = 0) -> FakeCluster:
    """Return a cluster that was edited and scaled to 6 in one step; no old pod is left."""
    cluster = ready_cluster()
    cluster.edit(worker=EDIT, replicas=6)
    cluster.settle()
    cluster.pods.clear()
    for number in range(6):
        if number < ready:
            cluster.add_worker(True)
        elif number < ready + starting:
            cluster.add_worker(False)
        else:
            unschedulable(cluster)
    cluster.observe_deployment(replicas=6, updatedReplicas=6, availableReplicas=ready)
    return cluster


def test_a_lack_of_devices_for_a_scale_up_within_a_rollout_is_no_failure_of_the_revision() -> None:
    cluster = scaled_up_while_rolling(ready=4)
    cluster.deadline_exceeded(after=600)
    assert cluster.settle() == [["status"]]
    assert cluster.status["current"]["name"] == cluster.revision_name()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.says("Available") == ("False", "PodsUnschedulable")
    assert NO_DEVICE in cluster.condition("Available")["message"]
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert cluster.says("Stalled") == ("False", "Settled")
    assert "failed" not in cluster.status
    assert cluster.plan() == Plan()


def test_a_pod_that_only_starts_is_waited_for_beside_those_that_lack_devices() -> None:
    cluster = scaled_up_while_rolling(ready=3, starting=1)
    cluster.settle()
    assert cluster.status["current"]["name"] != cluster.revision_name()
    assert cluster.says("Reconciling")[0] == "True"


def test_a_pod_that_crashes_fails_the_revision_beside_those_that_lack_devices() -> None:
    cluster = scaled_up_while_rolling(ready=3)
    cluster.pods.popitem()
    cluster.crashing_worker("worker", 3, cluster.terminated(65, said("ModelLoadFailed", "no signature")))
    before = cluster.status["current"]
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert cluster.status["current"] == before


def test_a_quota_that_stops_a_scale_up_within_a_rollout_is_no_failure_of_the_revision() -> None:
    cluster = ready_cluster()
    cluster.edit(worker=EDIT, replicas=6)
    cluster.settle()
    cluster.pods.clear()
    for _ in range(4):
        cluster.add_worker(True)
    deployment = cluster.observe_deployment(replicas=4, updatedReplicas=4, availableReplicas=4)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "RollingOut"), "the other pods may just not be made yet"
    cluster.deadline_exceeded(after=600)
    refused = {"type": "ReplicaFailure", "status": "True", "message": "forbidden: exceeded quota: pods"}
    deployment["status"]["conditions"].append(refused)
    cluster.settle()
    assert cluster.status["current"]["name"] == cluster.revision_name()
    assert cluster.says("Available") == ("False", "QuotaExceeded")


def mixed(old: int, waits_old: int, ready: int) -> FakeCluster:
    """Return a cluster amid a rollout: old pods, new ones, and one new pod without a node, too late."""
    cluster = ready_cluster()
    cluster.pods.clear()
    for _ in range(old):
        cluster.add_worker(True)
    for _ in range(waits_old):
        unschedulable(cluster)
    cluster.edit(worker=EDIT, replicas=6)
    cluster.settle()
    for _ in range(ready):
        cluster.add_worker(True)
    unschedulable(cluster)
    total = old + waits_old + ready + 1
    cluster.observe_deployment(replicas=total, updatedReplicas=ready + 1, availableReplicas=old + ready)
    cluster.deadline_exceeded(after=600)
    return cluster


@pytest.mark.parametrize(
    ("old", "waits_old", "ready"), [(3, 0, 1), (4, 1, 0)], ids=["one was ready", "the old do not fit either"]
)
def test_a_rollout_that_a_full_cluster_holds_up_goes_on(old: int, waits_old: int, ready: int) -> None:
    cluster = mixed(old, waits_old, ready)
    before = cluster.status["current"]
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "PodsUnschedulable")
    assert cluster.says("Available") == ("False", "PodsUnschedulable")
    assert cluster.says("Stalled")[0] == "False"
    assert cluster.status["current"] == before
    assert cluster.plan() == Plan()


def test_a_revision_of_which_no_pod_fits_anywhere_is_rolled_back_in_the_schedulers_words() -> None:
    cluster = mixed(old=3, waits_old=0, ready=0)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert NO_DEVICE in cluster.condition("Stalled")["message"]


@pytest.mark.parametrize("again", [False, True])
def test_broken_pods_of_the_current_revision_do_not_hold_up_what_repairs_them(again: bool) -> None:
    cluster = ready_cluster()
    workers = [
        name for name, pod in cluster.pods.items() if pod["metadata"]["labels"][names.ROLE_LABEL] == "entry"
    ]
    for name in workers:
        del cluster.pods[name]
        cluster.crashing_worker("worker", 9, cluster.terminated(137, reason="OOMKilled"))
    cluster.observe_deployment(replicas=2, updatedReplicas=2)
    if again:  # the first repair is none
        cluster.edit(worker={"env": [{"name": "BAD", "value": "1"}]})
        cluster.settle()
        cluster.crashing_worker("worker", 3, cluster.terminated(1))
        cluster.observe_deployment(replicas=3, updatedReplicas=1)
        cluster.settle()
        assert cluster.says("Stalled") == ("True", "RolloutFailed")
    cluster.edit(worker=EDIT)
    cluster.settle()
    revision = cluster.revision_name()
    assert cluster.only("Deployment")["metadata"]["labels"][names.REVISION_LABEL] == revision
    cluster.add_worker(True)
    cluster.observe_deployment(replicas=3, updatedReplicas=1, availableReplicas=1)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "RollingOut")
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["name"] == revision
    assert cluster.says("Ready") == ("True", "Available")


def edited_at_zero() -> FakeCluster:
    """Return a cluster that was scaled to zero and then edited; the edit is in place."""
    cluster = ready_cluster()
    cluster.edit(replicas=0)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    cluster.edit(worker=EDIT)
    cluster.settle()
    complete_at_zero(cluster)
    cluster.settle()
    return cluster


def test_at_zero_replicas_a_new_revision_is_in_place_and_the_one_that_was_ready_stays_current() -> None:
    good = ready_cluster().status["current"]
    cluster = edited_at_zero()
    assert cluster.status["current"] == good
    assert cluster.status["candidate"]["name"] == cluster.revision_name()
    assert cluster.only("Deployment")["metadata"]["labels"][names.REVISION_LABEL] == cluster.revision_name()
    assert cluster.says("Ready") == ("True", "ScaledToZero")
    assert cluster.condition("Ready")["message"] == (
        f"revision {cluster.revision_name()} is scaled to zero; "
        "it becomes current when a pod of it has been ready"
    )
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert cluster.plan() == Plan()
    cluster.edit(suspend=True)
    assert cluster.settle() == [["status"]]
    assert cluster.says("Ready") == ("True", "ScaledToZero")
    assert cluster.status["candidate"]["name"] == cluster.revision_name()


def test_the_first_pod_after_zero_replicas_makes_the_revision_current() -> None:
    cluster = edited_at_zero()
    cluster.edit(replicas=1)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "RollingOut")
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["name"] == cluster.revision_name()
    assert cluster.says("Ready") == ("True", "Available")


def test_a_bad_revision_that_was_put_in_place_at_zero_replicas_is_rolled_back_at_its_first_pods() -> None:
    cluster = edited_at_zero()
    good = cluster.status["current"]
    cluster.edit(replicas=1)
    cluster.settle()
    cluster.crashing_worker("worker", 3, cluster.terminated(65, said("ModelLoadFailed", "no signature")))
    cluster.observe_deployment(replicas=1, updatedReplicas=1)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert cluster.status["current"] == good
    assert cluster.only("Deployment")["metadata"]["labels"][names.REVISION_LABEL] == good["name"]
    cluster.edit(replicas=0)
    cluster.settle()
    assert cluster.says("Ready") == ("False", "RolloutFailed")


@pytest.mark.parametrize("how", ["no node", "no quota"])
def test_the_deadline_after_zero_replicas_counts_though_the_deployment_does_not_count_it(how: str) -> None:
    cluster = edited_at_zero()
    cluster.edit(replicas=1)
    cluster.settle()
    before = copy.deepcopy(cluster.only("Deployment")["status"]["conditions"])
    count = {"replicas": 1, "updatedReplicas": 1} if how == "no node" else {}
    cluster.observe_deployment(**count)["status"]["conditions"] = before
    if how == "no node":
        unschedulable(cluster)
    else:
        began = format_time(cluster.now)
        refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods"}
        before.append({**refused, "lastTransitionTime": began})
    cluster.wait(590)
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"
    assert cluster.plan().requeue == pytest.approx(10)
    cluster.wait(11)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert (NO_DEVICE if how == "no node" else "exceeded quota") in cluster.condition("Stalled")["message"]


def foreign(owner: list[dict[str, Any]]) -> FakeCluster:
    """Return a serving cluster with one more pod of our labels that somebody else made; it crashes."""
    cluster = ready_cluster()
    lost = cluster.terminated(65, said("ArtifactLost", "gone"))
    pod = cluster.crashing_worker("fetch", 9, lost)
    pod["metadata"]["ownerReferences"] = owner
    return cluster


REPLICA_SET = {"kind": "ReplicaSet", "name": "digits-55d6", "uid": "rs", "controller": True}


@pytest.mark.parametrize(
    "owner",
    [
        [],
        [{**REPLICA_SET, "name": "other-55d6"}],
        [{**REPLICA_SET, "kind": "Job"}],
        [{**REPLICA_SET, "controller": False}],
    ],
    ids=["none", "another ReplicaSet", "a Job", "no controller"],
)
def test_a_pod_that_is_not_of_the_deployment_neither_counts_nor_decides(owner: list[dict[str, Any]]) -> None:
    cluster = foreign(owner)
    for pod in cluster.pods.values():
        pod["metadata"]["labels"]["pod-template-hash"] = "55d6"
    assert cluster.settle() == []
    assert (cluster.status["replicas"], cluster.status["readyReplicas"]) == (2, 2)
    cluster.edit(worker=EDIT)
    cluster.settle()
    for pod in cluster.pods.values():
        pod["metadata"]["labels"][names.REVISION_LABEL] = cluster.revision_name()
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"


def test_a_pod_of_a_replica_set_of_the_deployment_counts() -> None:
    cluster = foreign([REPLICA_SET])
    for pod in cluster.pods.values():
        pod["metadata"]["labels"]["pod-template-hash"] = "55d6"
    cluster.settle()
    assert cluster.status["replicas"] == 3


def test_revisions_that_are_restored_together_have_numbers_of_their_own() -> None:
    cluster = ready_cluster()
    cluster.edit(worker=EDIT)
    cluster.settle()
    for name in cluster.names_of("ControllerRevision"):
        del cluster.objects["ControllerRevision", name]
    cluster.edit(worker=None)  # so what the spec asks for can be restored, and what runs
    view = View(cluster.observe(), cluster.settings, cluster.spec)
    assert sorted(revision.number for revision in with_restored(view, ())) == [1, 2]
