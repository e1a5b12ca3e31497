"""What fails is reported with its reason, the current revision serves on, and nothing is tried in vain."""

import json
from typing import Any

import pytest

from modelpress.api import identity, names
from modelpress.planning.types import Plan
from tests.unit.planning.world import ARTIFACT, OTHER_ARTIFACT, SPEC, World, ready_world

TWO_PODS = {"pipeline": 2, "podsPerReplica": 2}  # not supported yet

FLOAT16 = {"quantization": {"scheme": "Float16"}}


def said(reason: str, message: str = "why") -> str:
    return json.dumps({"reason": reason, "message": message})


def compressing_world() -> World:
    world = World()
    world.settle()
    return world


# the Job


def test_a_failed_job_stalls_with_its_own_reason_and_message() -> None:
    world = compressing_world()
    world.job_fails(65, said("DigestMismatch", "model: sha256 is ab, not cd"))
    assert world.settle() == [["status"]]
    assert world.says("Stalled") == ("True", "DigestMismatch")
    assert world.condition("Stalled")["message"] == "model: sha256 is ab, not cd"
    assert world.says("Ready") == ("False", "DigestMismatch")
    assert world.says("Reconciling")[0] == "False"
    assert world.status["failed"] == {
        "recipeHash": identity.recipe_hash(world.spec),
        "reason": "DigestMismatch",
        "message": "model: sha256 is ab, not cd",
    }
    assert world.notes[-1].type == "Warning"


@pytest.mark.parametrize(
    ("code", "message", "container_reason", "expected"),
    [
        (137, "", "OOMKilled", "OutOfMemory"),
        (70, "not JSON", "Error", "PodCrashed"),
        (1, '{"reason": "NoSuchReason", "message": "x"}', "Error", "PodCrashed"),
        (1, '{"reason": "InvalidModel"}', "Error", "PodCrashed"),
        (65, said("InvalidModel"), "Error", "InvalidModel"),
    ],
)
def test_what_a_failed_job_says_or_does_not_say(
    code: int, message: str, container_reason: str, expected: str
) -> None:
    world = compressing_world()
    world.job_fails(code, message, container_reason)
    world.settle()
    assert world.says("Stalled") == ("True", expected)


def test_a_job_past_its_deadline_says_so() -> None:
    world = compressing_world()
    world.finish_job(world.only("Job"), "Failed", "DeadlineExceeded")
    world.settle()
    assert world.says("Stalled") == ("True", "DeadlineExceeded")
    assert "86400" in world.condition("Stalled")["message"]


def test_a_failed_job_whose_pod_is_not_seen_yet_is_looked_at_again() -> None:
    world = compressing_world()
    world.finish_job(world.only("Job"), "Failed", "BackoffLimitExceeded")
    assert world.plan().requeue == pytest.approx(10)
    world.settle()
    assert world.says("Stalled")[0] == "False"
    world.wait(11)
    world.settle()
    assert world.says("Stalled") == ("True", "JobFailed")
    assert world.condition("Stalled")["message"] == "Job BackoffLimitExceeded"


@pytest.mark.parametrize("message", ["", "garbage", "{}", '{"recipeHash": "another"}'])
def test_a_result_that_cannot_be_read_is_a_failure(message: str) -> None:
    world = compressing_world()
    world.job_succeeds(message)
    world.settle()
    assert world.says("Stalled") == ("True", "JobFailed")


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failure(score: float) -> None:
    world = compressing_world()
    scores = {"metric": "Accuracy", "original": score, "compressed": 1.0, "rows": 1}
    world.job_succeeds(scores=scores)
    world.settle()
    assert world.says("Stalled") == ("True", "JobFailed")


def test_a_result_of_another_recipe_is_a_failure() -> None:
    world = compressing_world()
    world.job_succeeds(recipeHash="another")
    world.settle()
    assert world.says("Stalled") == ("True", "JobFailed")


def test_a_failed_recipe_is_not_tried_again_until_it_or_the_retry_annotation_changes() -> None:
    world = compressing_world()
    world.job_fails(65, said("InvalidModel"))
    world.settle()
    world.objects.pop(("Job", world.job_name()))  # a day later
    world.pods.clear()
    assert world.settle() == []
    world.edit(replicas=3, serving={"maxBatchSize": 8})
    world.settle()
    assert world.says("Stalled") == ("True", "InvalidModel")
    assert not world.names_of("Job")

    world.annotate(names.RETRY_ANNOTATION, "1")
    assert world.settle() == [[f"apply Job {world.job_name('1')}", "status"]]
    assert world.names_of("Job") == {world.job_name("1")}
    assert world.says("Stalled") == ("False", "Settled")
    assert "failed" not in world.status


def test_a_retry_makes_a_new_job_beside_the_failed_one() -> None:
    world = compressing_world()
    world.job_fails(65, said("InvalidModel"))
    world.settle()
    world.annotate(names.RETRY_ANNOTATION, "1")
    assert world.settle() == [[f"apply Job {world.job_name('1')}", "status"]]
    world.job_fails(65, said("InvalidModel", "again"), job=world.job_name("1"))
    world.settle()
    assert world.status["failed"]["retry"] == "1"
    assert world.condition("Stalled")["message"] == "again"


def test_a_retry_annotation_does_not_disturb_what_runs_or_serves() -> None:
    world = compressing_world()
    world.annotate(names.RETRY_ANNOTATION, "1")
    assert world.settle() == []
    world = ready_world()
    world.annotate(names.RETRY_ANNOTATION, "1")
    assert world.settle() == []


def test_a_new_recipe_after_a_failed_one_runs_its_job() -> None:
    world = compressing_world()
    world.job_fails(65, said("InvalidModel"))
    world.settle()
    world.edit(model={"uri": "s3://models/good.keras"})
    world.settle()
    assert world.says("Reconciling") == ("True", "Compressing")
    world.job_succeeds()
    world.settle()
    world.roll_out()
    world.settle()
    assert "failed" not in world.status


def test_a_failed_job_leaves_the_current_revision_serving() -> None:
    world = ready_world()
    before = world.status["current"]
    world.edit(compression=FLOAT16)
    world.settle()
    world.job_fails(65, said("UnsupportedModel"))
    world.settle()
    assert world.verdict() == {
        "Ready": "False",
        "Available": "True",
        "Compressed": "False",
        "Reconciling": "False",
        "Stalled": "True",
    }
    assert world.status["current"] == before


def test_a_result_lost_with_its_pod_runs_the_job_again() -> None:
    world = compressing_world()
    job = world.job_name()
    world.finish_job(world.only("Job"), "Complete", "CompletionsReached")
    assert world.settle() == []
    assert world.plan().requeue == pytest.approx(10)
    world.wait(11)
    assert world.settle() == [[f"delete Job {job}", "status"], [f"apply Job {job}", "status"]]


def test_a_result_that_is_recorded_outlives_job_and_pod() -> None:
    world = ready_world()
    world.pods = {
        name: pod
        for name, pod in world.pods.items()
        if pod["metadata"]["labels"][names.ROLE_LABEL] == "entry"
    }
    world.wait(60)
    assert world.plan() == Plan()
    world.objects.pop(("Job", world.job_name()))
    assert world.plan() == Plan()


# the gate


def test_a_missed_limit_stalls_and_a_relaxed_one_needs_no_job() -> None:
    world = ready_world()
    before = world.status["current"]
    world.edit(compression=FLOAT16)
    world.settle()
    scores = {"metric": "Accuracy", "original": 97.5, "compressed": 91.0, "rows": 400}
    world.job_succeeds(scores=scores, artifactDigest=OTHER_ARTIFACT)
    assert world.settle() == [["status"]]
    assert world.verdict() == {
        "Ready": "False",
        "Available": "True",
        "Compressed": "True",
        "Reconciling": "False",
        "Stalled": "True",
    }
    assert world.says("Stalled") == ("True", "EvaluationFailed")
    assert world.condition("Stalled")["message"] == (
        "minScore: Accuracy is 91%, below 92%; "
        "maxDrop: Accuracy drops by 6.5% (from 97.5% to 91%), more than 0.5%"
    )
    assert world.status["evaluation"]["passed"] is False
    assert world.status["current"] == before

    for key in [key for key in world.objects if key[0] == "Job"]:
        del world.objects[key]  # a day later: the status remembers
    assert world.settle() == []
    world.edit(evaluation={"minScore": "90%", "maxDrop": "7%"})
    revision = world.revision_name(OTHER_ARTIFACT)
    assert world.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    assert world.status["evaluation"]["passed"] is True
    assert "failed" not in world.status


def test_tightened_limits_judge_the_current_revision_again() -> None:
    world = ready_world()
    world.edit(evaluation={"minScore": "99%"})
    assert world.settle() == [["status"]]
    assert world.says("Stalled") == ("True", "EvaluationFailed")
    assert world.says("Ready") == ("False", "EvaluationFailed")
    assert world.says("Available") == ("True", "Available")
    world.edit(evaluation=SPEC["evaluation"])
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert "failed" not in world.status


def test_limits_tightened_during_a_rollout_bring_the_current_revision_back() -> None:
    world = ready_world()
    current = world.status["current"]["name"]
    world.edit(compression=FLOAT16)
    world.settle()
    world.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    world.settle()
    world.edit(evaluation={"minScore": "99%"})
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.only("Deployment")["metadata"]["labels"][names.REVISION_LABEL] == current


def test_a_retry_after_a_missed_limit_runs_the_job_again() -> None:
    world = ready_world()
    world.edit(evaluation={"minScore": "99%"})
    world.settle()
    world.annotate(names.RETRY_ANNOTATION, "1")
    assert world.settle() == [[f"apply Job {world.job_name('1')}", "status"]]
    assert world.says("Reconciling") == ("True", "Compressing")
    scores = {"metric": "Accuracy", "original": 99.5, "compressed": 99.25, "rows": 400}
    world.job_succeeds(job=world.job_name("1"), scores=scores, artifactDigest=OTHER_ARTIFACT)
    world.settle()
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert world.status["current"]["artifactDigest"] == OTHER_ARTIFACT


def test_a_retry_waits_for_a_slot_without_forgetting_what_failed() -> None:
    world = ready_world()
    world.edit(evaluation={"minScore": "99%"})
    world.settle()
    world.annotate(names.RETRY_ANNOTATION, "1")
    world.slots = 0
    world.settle()
    assert world.says("Reconciling") == ("True", "WaitingForJobSlot")
    world.slots = 1
    assert world.settle() == [[f"apply Job {world.job_name('1')}", "status"]]


# the rollout


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


def test_failures_that_a_container_calls_temporary_wait_for_the_deadline() -> None:
    world = rolling_world()
    world.crashing_worker("fetch", 7, world.terminated(69, said("StoreUnavailable", "connection refused")))
    world.settle()
    assert world.says("Reconciling") == ("True", "StoreUnavailable")
    world.deadline_exceeded(after=600)
    world.settle()
    assert world.says("Stalled") == ("True", "RolloutFailed")
    assert world.condition("Stalled")["message"].endswith("StoreUnavailable: connection refused")


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


# a lost artifact


def lost_world() -> World:
    """Return a world whose store has lost the artifact: a second pod cannot start."""
    world = ready_world()
    world.wait(86400)
    world.objects.pop(("Job", world.job_name()))
    world.edit(replicas=3)
    world.settle()
    world.crashing_worker("fetch", 5, world.terminated(66, said("ArtifactLost", "no such digest")))
    world.observe_deployment(replicas=3, updatedReplicas=3, availableReplicas=2)
    return world


def test_a_lost_artifact_is_made_again_while_its_pods_go_on() -> None:
    world = lost_world()
    assert world.settle() == [[f"apply Job {world.job_name()}", "status"]]
    assert world.says("Reconciling") == ("True", "ArtifactLost")
    assert world.says("Ready") == ("True", "Available")
    world.wait(60)
    world.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    revision = world.revision_name(OTHER_ARTIFACT)
    assert world.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    world.roll_out()
    world.settle()
    assert world.status["current"]["artifactDigest"] == OTHER_ARTIFACT
    assert world.says("Ready") == ("True", "Available")


def test_a_lost_artifact_that_comes_back_the_same_ends_the_matter() -> None:
    world = lost_world()
    world.settle()
    world.wait(60)
    world.job_succeeds()
    world.settle()
    assert world.plan().apply == ()
    assert world.says("Reconciling")[0] == "False"


def test_a_lost_artifact_whose_job_is_still_there_runs_it_again() -> None:
    world = ready_world()
    world.wait(60)
    world.edit(replicas=3)
    world.settle()
    world.crashing_worker("fetch", 5, world.terminated(66, said("ArtifactLost")))
    job = world.job_name()
    steps = world.settle()
    assert steps[0][0] == f"delete Job {job}"
    assert steps[1][0] == f"apply Job {job}"


# the spec


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
