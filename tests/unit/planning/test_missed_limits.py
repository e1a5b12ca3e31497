"""A missed limit stalls, the current revision serves on, and a changed limit judges anew without a Job."""

from modelpress.api import names
from tests.unit.planning.fake_cluster import OTHER_ARTIFACT, SPEC, ready_cluster

FLOAT16 = {"quantization": {"scheme": "Float16"}}


def test_a_missed_limit_stalls_and_a_relaxed_one_needs_no_job() -> None:
    cluster = ready_cluster()
    before = cluster.status["current"]
    cluster.edit(compression=FLOAT16)
    cluster.settle()
    scores = {"metric": "Accuracy", "original": 97.5, "compressed": 91.0, "rows": 400}
    cluster.job_succeeds(scores=scores, artifactDigest=OTHER_ARTIFACT)
    assert cluster.settle() == [["status"]]
    assert cluster.verdict() == {
        "Ready": "False",
        "Available": "True",
        "Compressed": "True",
        "Reconciling": "False",
        "Stalled": "True",
    }
    assert cluster.says("Stalled") == ("True", "EvaluationFailed")
    assert cluster.condition("Stalled")["message"] == (
        "minScore: Accuracy is 91%, below 92%; "
        "maxDrop: Accuracy drops by 6.5% (from 97.5% to 91%), more than 0.5%"
    )
    assert cluster.status["evaluation"]["passed"] is False
    assert cluster.status["current"] == before

    for key in [key for key in cluster.objects if key[0] == "Job"]:
        del cluster.objects[key]  # a day later: the status remembers
    assert cluster.settle() == []
    cluster.edit(evaluation={"minScore": "90%", "maxDrop": "7%"})
    revision = cluster.revision_name(OTHER_ARTIFACT)
    assert cluster.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    assert cluster.status["evaluation"]["passed"] is True
    assert "failed" not in cluster.status


def test_tightened_limits_judge_the_current_revision_again() -> None:
    cluster = ready_cluster()
    cluster.edit(evaluation={"minScore": "99%"})
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", "EvaluationFailed")
    assert cluster.says("Ready") == ("False", "EvaluationFailed")
    assert cluster.says("Available") == ("True", "Available")
    cluster.edit(evaluation=SPEC["evaluation"])
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert "failed" not in cluster.status


def test_limits_tightened_during_a_rollout_bring_the_current_revision_back() -> None:
    cluster = ready_cluster()
    current = cluster.status["current"]["name"]
    cluster.edit(compression=FLOAT16)
    cluster.settle()
    cluster.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    cluster.settle()
    cluster.edit(evaluation={"minScore": "99%"})
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.only("Deployment")["metadata"]["labels"][names.REVISION_LABEL] == current


def test_a_retry_after_a_missed_limit_runs_the_job_again() -> None:
    cluster = ready_cluster()
    cluster.edit(evaluation={"minScore": "99%"})
    cluster.settle()
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert cluster.settle() == [[f"apply Job {cluster.job_name('1')}", "status"]]
    assert cluster.says("Reconciling") == ("True", "Compressing")
    scores = {"metric": "Accuracy", "original": 99.5, "compressed": 99.25, "rows": 400}
    cluster.job_succeeds(job=cluster.job_name("1"), scores=scores, artifactDigest=OTHER_ARTIFACT)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.status["current"]["artifactDigest"] == OTHER_ARTIFACT


def test_a_retry_waits_for_a_slot_without_forgetting_what_failed() -> None:
    cluster = ready_cluster()
    cluster.edit(evaluation={"minScore": "99%"})
    cluster.settle()
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    cluster.slots = 0
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "WaitingForJobSlot")
    cluster.slots = 1
    assert cluster.settle() == [[f"apply Job {cluster.job_name('1')}", "status"]]
