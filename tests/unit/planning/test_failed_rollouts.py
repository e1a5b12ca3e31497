"""A rollout that fails brings the current revision back, says why, and is not tried again in vain."""

from modelpress.api import identity, names
from modelpress.planning.types import Plan
from tests.unit.planning.world import ARTIFACT, HOW_TO_RETRY, World, compressing_world, ready_world, said


def rolling_world() -> World:
    """Return a world in which a second revision rolls out; one of its two pods is there, not ready."""
    world = ready_world()
    world.edit(worker={"env": [{"name": "BAD", "value": "1"}]})
    world.settle()
    for name in list(world.pods)[-1:]:
        del world.pods[name]
    world.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=1)
    return world


def test_pods_that_crash_three_times_bring_the_current_revision_back() -> None:
    world = rolling_world()
    before, bad = world.status["current"], world.revision_name()
    ended = world.terminated(65, said("ModelLoadFailed", "no signature"))
    pod = world.crashing_worker("worker", 2, ended)
    world.settle()
    assert world.says("Reconciling") == ("True", "ModelLoadFailed")
    assert world.says("Stalled")[0] == "False"

    pod["status"]["containerStatuses"][0]["restartCount"] = 3
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.only("Deployment")["metadata"]["labels"][names.REVISION_LABEL] == before["name"]
    assert world.verdict() == {
        "Ready": "False",
        "Available": "False",
        "Compressed": "True",
        "Reconciling": "False",
        "Stalled": "True",
    }
    assert world.says("Stalled") == ("True", "RolloutFailed")
    assert world.condition("Stalled")["message"] == (
        f"revision {bad} did not become ready; {before['name']} was restored: ModelLoadFailed: no signature"
        + HOW_TO_RETRY
    )
    failed = world.status["failed"]
    assert failed["revisionHash"] == identity.revision_hash(world.spec, ARTIFACT, None)
    assert failed["recipeHash"] == identity.recipe_hash(world.spec)
    assert world.status["current"] == before
    assert "candidate" not in world.status

    world.roll_out()
    world.settle()
    assert world.says("Available") == ("True", "Available")
    assert world.says("Stalled") == ("True", "RolloutFailed")
    assert world.plan() == Plan()


def test_a_failed_revision_is_tried_again_after_a_retry_or_a_change_only() -> None:
    world = rolling_world()
    world.crashing_worker("worker", 3, world.terminated(1))
    world.settle()
    world.roll_out()
    world.settle()
    world.edit(replicas=3)
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.says("Stalled") == ("True", "RolloutFailed")

    world.annotate(names.RETRY_ANNOTATION, "1")
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.says("Stalled") == ("False", "Settled")
    assert "failed" not in world.status
    world.roll_out()
    world.crashing_worker("worker", 3, world.terminated(1))
    world.observe_deployment(replicas=3, updatedReplicas=3, availableReplicas=2)
    world.settle()
    assert world.status["failed"]["retry"] == "1"

    world.edit(worker={"env": [{"name": "GOOD", "value": "1"}]})
    world.settle()
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert "failed" not in world.status


def test_taking_a_failed_edit_back_is_ready_and_pushing_it_again_is_stalled_at_once() -> None:
    world = rolling_world()
    world.crashing_worker("worker", 3, world.terminated(1))
    world.settle()
    world.roll_out()
    world.settle()
    bad = world.resource["spec"]["worker"]
    world.edit(worker=None)
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    world.edit(worker=bad)
    assert world.settle() == [["status"]]
    assert world.says("Stalled") == ("True", "RolloutFailed")


def test_the_progress_deadline_of_the_current_generation_brings_the_current_revision_back() -> None:
    world = rolling_world()
    world.add_worker(False)
    deployment = world.objects["Deployment", "digits"]
    world.deadline_exceeded(after=600)
    deployment["metadata"]["generation"] += 1
    world.settle()
    assert world.says("Stalled")[0] == "False"
    deployment["metadata"]["generation"] -= 1
    assert world.settle()[0][0] == "apply Deployment digits"
    assert world.says("Stalled") == ("True", "RolloutFailed")


def test_a_deadline_of_an_earlier_try_is_not_one_of_this_try() -> None:
    world = rolling_world()
    world.deadline_exceeded(after=600)
    world.settle()
    conditions = world.objects["Deployment", "digits"]["status"]["conditions"]
    world.wait(5)
    world.annotate(names.RETRY_ANNOTATION, "1")
    world.settle()
    world.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=1)["status"]["conditions"] = (
        conditions
    )
    world.settle()
    assert world.says("Stalled")[0] == "False"
    world.deadline_exceeded(after=600)
    world.settle()
    assert world.says("Stalled") == ("True", "RolloutFailed")


def test_crashed_pods_of_an_earlier_try_are_none_of_this_try() -> None:
    world = rolling_world()
    world.crashing_worker("worker", 3, world.terminated(1))
    world.settle()
    world.wait(1)
    world.annotate(names.RETRY_ANNOTATION, "1")
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.says("Stalled")[0] == "False"


def test_a_retry_of_a_first_rollout_whose_pods_still_crash_is_stalled_again() -> None:
    world = compressing_world()
    world.job_succeeds()
    world.settle()
    world.crashing_worker("worker", 3, world.terminated(1))
    world.observe_deployment(replicas=2, updatedReplicas=2)
    world.settle()
    world.wait(1)
    world.annotate(names.RETRY_ANNOTATION, "1")
    world.settle()
    assert world.says("Stalled") == ("True", "RolloutFailed")
    assert world.status["failed"]["retry"] == "1"


AWAY = said("StoreUnavailable", "connection refused")


def test_a_store_that_is_away_fails_no_rollout_however_long_it_takes() -> None:
    world = rolling_world()
    pod = world.crashing_worker("fetch", 7, world.terminated(69, AWAY))
    world.settle()
    assert world.says("Reconciling") == ("True", "StoreUnavailable")
    world.deadline_exceeded(after=600)
    assert world.settle() == []
    assert world.says("Reconciling") == ("True", "StoreUnavailable")
    assert world.says("Ready") == ("False", "StoreUnavailable")

    # the store is back: the model is still being loaded, and the Deployment's deadline is long over
    status = pod["status"]["initContainerStatuses"][0]
    status |= {"ready": True, "state": {"terminated": world.terminated(0)}}
    world.settle()
    assert world.says("Reconciling") == ("True", "RollingOut")
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert "failed" not in world.status


def test_a_model_that_does_not_load_after_an_outage_has_the_deadline_for_itself() -> None:
    world = rolling_world()
    pod = world.crashing_worker("fetch", 7, world.terminated(69, AWAY))
    world.deadline_exceeded(after=600)
    status = pod["status"]["initContainerStatuses"][0]
    status |= {"ready": True, "state": {"terminated": world.terminated(0)}}
    world.settle()
    world.wait(599)
    world.settle()
    assert world.says("Stalled")[0] == "False"
    world.wait(2)
    world.settle()
    assert world.says("Stalled") == ("True", "RolloutFailed")


def test_a_pod_with_trouble_of_its_own_fails_the_rollout_beside_one_whose_store_is_away() -> None:
    world = rolling_world()
    world.crashing_worker("fetch", 7, world.terminated(69, AWAY))
    world.crashing_worker("worker", 2, world.terminated(137, reason="OOMKilled"))
    world.deadline_exceeded(after=600)
    world.settle()
    assert world.says("Stalled") == ("True", "RolloutFailed")


def test_pods_that_their_node_refuses_are_told_of_though_others_take_their_place() -> None:
    world = rolling_world()
    refused = world.add_worker(False)
    refused["status"] = {"phase": "Failed", "reason": "OutOfcpu", "message": "not enough cpu"}
    world.wait(2)
    world.add_worker(False)
    world.settle()
    assert world.says("Reconciling") == ("True", "PodsUnschedulable")
    assert world.condition("Reconciling")["message"] == "not enough cpu"
    world.roll_out()
    world.pods[refused["metadata"]["name"]] = refused
    world.settle()
    assert world.says("Ready") == ("True", "Available")


def test_a_first_rollout_that_fails_has_nothing_to_go_back_to_and_may_still_succeed() -> None:
    world = compressing_world()
    world.job_succeeds()
    world.settle()
    world.roll_out(ready=False)
    world.deadline_exceeded(after=600)
    assert world.settle() == [["status"]]
    assert world.says("Stalled") == ("True", "RolloutFailed")
    assert "restored" not in world.condition("Stalled")["message"]
    assert world.status["candidate"]["name"] == world.revision_name()
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert "failed" not in world.status


def test_crashes_of_the_current_revision_are_no_failed_rollout() -> None:
    world = ready_world()
    for name in [
        name for name in world.pods if world.pods[name]["metadata"]["labels"][names.ROLE_LABEL] == "entry"
    ]:
        del world.pods[name]
    ended = world.terminated(137, reason="OOMKilled")
    for _ in range(2):
        world.crashing_worker("worker", 9, ended)
    world.settle()
    assert world.says("Ready") == ("False", "OutOfMemory")
    assert world.says("Available") == ("False", "OutOfMemory")
    assert world.says("Reconciling") == ("False", "Settled")
    assert world.says("Stalled") == ("False", "Settled")
