"""A failed Job is reported with its reason, the current revision serves on, and nothing is tried in vain."""

import pytest

from modelpress.api import identity, names
from modelpress.planning.types import Plan
from tests.unit.planning.world import HOW_TO_RETRY, compressing_world, ready_world, said

FLOAT16 = {"quantization": {"scheme": "Float16"}}


def test_a_failed_job_stalls_with_its_own_reason_and_message() -> None:
    world = compressing_world()
    world.job_fails(65, said("DigestMismatch", "model: sha256 is ab, not cd"))
    assert world.settle() == [["status"]]
    assert world.says("Stalled") == ("True", "DigestMismatch")
    assert world.condition("Stalled")["message"] == "model: sha256 is ab, not cd" + HOW_TO_RETRY
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
    assert world.condition("Stalled")["message"] == "Job BackoffLimitExceeded" + HOW_TO_RETRY


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
    assert world.condition("Stalled")["message"] == "again" + HOW_TO_RETRY
    assert world.names_of("Job") == {world.job_name("1")}


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


def test_a_final_end_that_the_job_does_not_tell_of_yet_is_not_said_to_be_tried_again() -> None:
    world = compressing_world()
    world.add_job_pod(world.only("Job"), "Failed", world.terminated(65, said("InvalidModel")))
    world.settle()
    assert world.says("Reconciling") == ("True", "Compressing")
