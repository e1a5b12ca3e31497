"""A rollout that fails brings the current revision back, says why, and is not tried again in vain."""

import pytest

from modelpress.api import identity, names
from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import (
    ARTIFACT,
    HOW_TO_RETRY,
    FakeCluster,
    compressing_cluster,
    ready_cluster,
    said,
)


def rolling_cluster() -> FakeCluster:
    """Return a cluster in which a second revision rolls out; one of its two pods is there, not ready."""
    cluster = ready_cluster()
    cluster.edit(worker={"env": [{"name": "BAD", "value": "1"}]})
    cluster.settle()
    for name in list(cluster.pods)[-1:]:
        del cluster.pods[name]
    cluster.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=1)
    return cluster


def test_pods_that_crash_three_times_bring_the_current_revision_back() -> None:
    cluster = rolling_cluster()
    before, bad = cluster.status["current"], cluster.revision_name()
    ended = cluster.terminated(65, said("ModelLoadFailed", "no signature"))
    pod = cluster.crashing_worker("worker", 2, ended)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "ModelLoadFailed")
    assert cluster.says("Stalled")[0] == "False"

    pod["status"]["containerStatuses"][0]["restartCount"] = 3
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.only("Deployment")["metadata"]["labels"][names.REVISION_LABEL] == before["name"]
    assert cluster.verdict() == {
        "Ready": "False",
        "Available": "False",
        "Compressed": "True",
        "Reconciling": "False",
        "Stalled": "True",
    }
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert cluster.condition("Stalled")["message"] == (
        f"revision {bad} did not become ready; {before['name']} was restored: ModelLoadFailed: no signature"
        + HOW_TO_RETRY
    )
    failed = cluster.status["failed"]
    assert failed["revisionHash"] == identity.revision_hash(cluster.spec, ARTIFACT, None)
    assert failed["recipeHash"] == identity.recipe_hash(cluster.spec)
    assert cluster.status["current"] == before
    assert "candidate" not in cluster.status

    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Available") == ("True", "Available")
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert cluster.plan() == Plan()


def test_a_failed_revision_is_tried_again_after_a_retry_or_a_change_only() -> None:
    cluster = rolling_cluster()
    cluster.crashing_worker("worker", 3, cluster.terminated(1))
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    cluster.edit(replicas=3)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.says("Stalled") == ("True", "RolloutFailed")

    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.says("Stalled") == ("False", "Settled")
    assert "failed" not in cluster.status
    cluster.roll_out()
    cluster.crashing_worker("worker", 3, cluster.terminated(1))
    cluster.observe_deployment(replicas=3, updatedReplicas=3, availableReplicas=2)
    cluster.settle()
    assert cluster.status["failed"]["retry"] == "1"

    cluster.edit(worker={"env": [{"name": "GOOD", "value": "1"}]})
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert "failed" not in cluster.status


def test_taking_a_failed_edit_back_is_ready_and_pushing_it_again_is_stalled_at_once() -> None:
    cluster = rolling_cluster()
    cluster.crashing_worker("worker", 3, cluster.terminated(1))
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    bad = cluster.resource["spec"]["worker"]
    cluster.edit(worker=None)
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    cluster.edit(worker=bad)
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", "RolloutFailed")


def test_the_progress_deadline_of_the_current_generation_brings_the_current_revision_back() -> None:
    cluster = rolling_cluster()
    cluster.add_worker(False)
    deployment = cluster.objects["Deployment", "digits"]
    cluster.deadline_exceeded(after=600)
    deployment["metadata"]["generation"] += 1
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"
    deployment["metadata"]["generation"] -= 1
    assert cluster.settle()[0][0] == "apply Deployment digits"
    assert cluster.says("Stalled") == ("True", "RolloutFailed")


@pytest.mark.parametrize(("age", "left"), [(0, 600), (200, 400), (580, 60), (600, 60), (9000, 60)])
def test_pods_that_were_made_late_have_their_time_and_all_a_moment_after_the_deadline(
    age: int, left: int
) -> None:
    """The deadline passes while the API server is away, too."""
    cluster = rolling_cluster()
    cluster.add_worker(False)
    cluster.wait(age)
    cluster.stop_progress()
    cluster.settle()
    assert (cluster.plan().requeue or 0) <= left
    cluster.wait(left - 1)
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"
    cluster.wait(1)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")


def test_a_deadline_of_an_earlier_try_is_not_one_of_this_try() -> None:
    cluster = rolling_cluster()
    cluster.deadline_exceeded(after=600)
    cluster.settle()
    conditions = cluster.objects["Deployment", "digits"]["status"]["conditions"]
    cluster.wait(5)
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    cluster.settle()
    cluster.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=1)["status"]["conditions"] = (
        conditions
    )
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"
    cluster.deadline_exceeded(after=600)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")


def test_crashed_pods_of_an_earlier_try_are_none_of_this_try() -> None:
    cluster = rolling_cluster()
    cluster.crashing_worker("worker", 3, cluster.terminated(1))
    cluster.settle()
    cluster.wait(1)
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.says("Stalled")[0] == "False"


def test_a_retry_of_a_first_rollout_whose_pods_still_crash_is_stalled_again() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds()
    cluster.settle()
    cluster.crashing_worker("worker", 3, cluster.terminated(1))
    cluster.observe_deployment(replicas=2, updatedReplicas=2)
    cluster.settle()
    cluster.wait(1)
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert cluster.status["failed"]["retry"] == "1"


AWAY = said("StoreUnavailable", "connection refused")


def test_a_store_that_is_away_fails_no_rollout_however_long_it_takes() -> None:
    cluster = rolling_cluster()
    pod = cluster.crashing_worker("fetch", 7, cluster.terminated(69, AWAY))
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "StoreUnavailable")
    cluster.deadline_exceeded(after=600)
    assert cluster.settle() == []
    assert cluster.says("Reconciling") == ("True", "StoreUnavailable")
    assert cluster.says("Ready") == ("False", "StoreUnavailable")

    # the store is back: the model is still being loaded, and the Deployment's deadline is long over
    status = pod["status"]["initContainerStatuses"][0]
    status |= {"ready": True, "state": {"terminated": cluster.terminated(0)}}
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "RollingOut")
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert "failed" not in cluster.status


def test_a_model_that_does_not_load_after_an_outage_has_the_deadline_for_itself() -> None:
    cluster = rolling_cluster()
    pod = cluster.crashing_worker("fetch", 7, cluster.terminated(69, AWAY))
    cluster.deadline_exceeded(after=600)
    status = pod["status"]["initContainerStatuses"][0]
    status |= {"ready": True, "state": {"terminated": cluster.terminated(0)}}
    cluster.settle()
    cluster.wait(599)
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"
    cluster.wait(2)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")


def test_a_pod_with_trouble_of_its_own_fails_the_rollout_beside_one_whose_store_is_away() -> None:
    cluster = rolling_cluster()
    cluster.crashing_worker("fetch", 7, cluster.terminated(69, AWAY))
    cluster.crashing_worker("worker", 2, cluster.terminated(137, reason="OOMKilled"))
    cluster.deadline_exceeded(after=600)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "RolloutFailed")


def test_pods_that_their_node_refuses_are_told_of_though_others_take_their_place() -> None:
    cluster = rolling_cluster()
    refused = cluster.add_worker(False)
    refused["status"] = {"phase": "Failed", "reason": "OutOfcpu", "message": "not enough cpu"}
    cluster.wait(2)
    cluster.add_worker(False)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "PodsUnschedulable")
    assert cluster.condition("Reconciling")["message"] == "not enough cpu"
    cluster.roll_out()
    cluster.pods[refused["metadata"]["name"]] = refused
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")


def test_a_first_rollout_that_fails_has_nothing_to_go_back_to_and_may_still_succeed() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds()
    cluster.settle()
    cluster.roll_out(ready=False)
    cluster.deadline_exceeded(after=600)
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    assert "restored" not in cluster.condition("Stalled")["message"]
    assert cluster.status["candidate"]["name"] == cluster.revision_name()
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert "failed" not in cluster.status


def test_crashes_of_the_current_revision_are_no_failed_rollout() -> None:
    cluster = ready_cluster()
    for name in [
        name for name in cluster.pods if cluster.pods[name]["metadata"]["labels"][names.ROLE_LABEL] == "entry"
    ]:
        del cluster.pods[name]
    ended = cluster.terminated(137, reason="OOMKilled")
    for _ in range(2):
        cluster.crashing_worker("worker", 9, ended)
    cluster.settle()
    assert cluster.says("Ready") == ("False", "OutOfMemory")
    assert cluster.says("Available") == ("False", "OutOfMemory")
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert cluster.says("Stalled") == ("False", "Settled")
