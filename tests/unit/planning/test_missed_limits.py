"""A missed limit stalls, the current revision serves on, and a changed limit judges anew without a Job."""

from modelpress.api import names
from tests.unit.planning.world import OTHER_ARTIFACT, SPEC, ready_world

FLOAT16 = {"quantization": {"scheme": "Float16"}}


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
