"""A failed Job is reported with its reason, the current revision serves on, and nothing is tried in vain."""

from typing import Any

import pytest

from modelpress.api import identity, names
from modelpress.api.status import Status
from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import ARTIFACT, HOW_TO_RETRY, compressing_cluster, ready_cluster, said

FLOAT16 = {"quantization": {"scheme": "Float16"}}


def test_a_failed_job_stalls_with_its_own_reason_and_message() -> None:
    cluster = compressing_cluster()
    cluster.job_fails(65, said("DigestMismatch", "model: sha256 is ab, not cd"))
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", "DigestMismatch")
    assert cluster.condition("Stalled")["message"] == "model: sha256 is ab, not cd" + HOW_TO_RETRY
    assert cluster.says("Ready") == ("False", "DigestMismatch")
    assert cluster.says("Reconciling")[0] == "False"
    assert cluster.status["failed"] == {
        "recipeHash": identity.recipe_hash(cluster.spec),
        "jobSettings": identity.job_settings_hash(cluster.spec),
        "reason": "DigestMismatch",
        "message": "model: sha256 is ab, not cd",
    }
    assert cluster.notes[-1].type == "Warning"


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
    cluster = compressing_cluster()
    cluster.job_fails(code, message, container_reason)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", expected)


def test_a_job_past_its_deadline_says_so() -> None:
    cluster = compressing_cluster()
    cluster.finish_job(cluster.only("Job"), "Failed", "DeadlineExceeded")
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "DeadlineExceeded")
    assert "86400" in cluster.condition("Stalled")["message"]


def test_the_pods_of_a_failed_job_that_none_is_seen_of_are_read_live_however_long_ago_it_was() -> None:
    cluster = compressing_cluster()
    cluster.finish_job(cluster.only("Job"), "Failed", "BackoffLimitExceeded")
    cluster.live = False
    cluster.wait(3600)
    assert [ref.name for ref in cluster.plan().unseen] == [cluster.job_name()]
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"
    cluster.live = True
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "JobFailed")
    assert cluster.condition("Stalled")["message"] == "Job BackoffLimitExceeded" + HOW_TO_RETRY


@pytest.mark.parametrize("message", ["", "garbage", "{}", '{"recipeHash": "another"}'])
def test_a_result_that_cannot_be_read_is_a_failure(message: str) -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds(message)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "JobFailed")


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failure(score: float) -> None:
    cluster = compressing_cluster()
    scores = {"metric": "Accuracy", "original": score, "compressed": 1.0, "rows": 1}
    cluster.job_succeeds(scores=scores)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "JobFailed")


_SCORES = {"metric": "Accuracy", "original": 97.5, "compressed": 97.25, "rows": 400}
_SIZE = "originalBytes"


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"artifactKey": "k" * 3000}, "artifactKey: "),
        ({"artifactKey": "k" * 5000}, "is longer than 4096 bytes"),
        ({"artifactKey": "a\x1b[2Jb\n"}, 'artifactKey: "a\\u001b[2Jb\\n": '),
        ({"artifactDigest": ARTIFACT + "\n"}, "artifactDigest: "),
        ({"sourceDigest": "sha256:short"}, "sourceDigest: "),
        ({_SIZE: -1}, f"{_SIZE}: -1: "),
        ({_SIZE: 1e30}, f"{_SIZE}: 1e+30: "),
        ({_SIZE: 10**30}, f"{_SIZE}: "),
        ({"compressedBytes": True}, "compressedBytes: true: "),
        ({"scores": {**_SCORES, "rows": -5}}, "scores.rows: -5: "),
        ({"scores": {**_SCORES, "compressed": 1e30}}, "'1e+30' is not a score"),
        ({"scores": {**_SCORES, "drop": float("nan")}}, "'nan' is not a score"),
        ({"scores": {**_SCORES, "metric": "Beauty"}}, 'scores.metric: "Beauty": '),
        ({"scores": [1]}, "scores: [1]: "),
    ],
)
def test_a_result_that_lies_is_one_clean_line_that_names_the_field(lie: dict[str, Any], said: str) -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds(**lie)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "JobFailed")
    message = cluster.condition("Stalled")["message"]
    assert message.startswith("the Job's result cannot be read: " + said)
    assert message.isprintable()
    assert len(message) < 500
    assert cluster.settle() == []


@pytest.mark.parametrize("text", ["[" * 4000, '{"scores":' * 400, "\x00", "\ud800", '{"a":1e99999}', "null"])
def test_a_result_that_is_no_object_is_one_clean_line(text: str) -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds(text)
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "JobFailed")
    assert cluster.condition("Stalled")["message"].isprintable()


def test_the_largest_sizes_and_scores_fit_the_status() -> None:
    cluster = compressing_cluster()
    scores = {**_SCORES, "original": 1000.0, "compressed": -1e300, "drop": 1e300}
    cluster.job_succeeds(originalBytes=2**43, compressedBytes=1, scores=scores)
    cluster.settle()
    Status.model_validate(cluster.status)
    assert cluster.says("Stalled") == ("True", "EvaluationFailed")


def test_what_a_failing_job_says_is_one_line_without_control_characters() -> None:
    cluster = compressing_cluster()
    cluster.job_fails(65, said("InvalidModel", "a\x1b[31m\nb" + "c" * 2900))
    cluster.settle()
    assert cluster.condition("Stalled")["message"].startswith("a\\x1b[31m bccc")
    assert cluster.condition("Stalled")["message"].isprintable()


def test_a_result_of_another_recipe_is_a_failure() -> None:
    cluster = compressing_cluster()
    cluster.job_succeeds(recipeHash="another")
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "JobFailed")


def test_a_failed_recipe_is_not_tried_again_until_it_or_the_retry_annotation_changes() -> None:
    cluster = compressing_cluster()
    cluster.job_fails(65, said("InvalidModel"))
    cluster.settle()
    cluster.objects.pop(("Job", cluster.job_name()))  # a day later
    cluster.pods.clear()
    assert cluster.settle() == []
    cluster.edit(replicas=3, serving={"maxBatchSize": 8})
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "InvalidModel")
    assert not cluster.names_of("Job")

    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert cluster.settle() == [[f"apply Job {cluster.job_name('1')}", "status"]]
    assert cluster.names_of("Job") == {cluster.job_name("1")}
    assert cluster.says("Stalled") == ("False", "Settled")
    assert "failed" not in cluster.status


def test_a_retry_makes_a_new_job_beside_the_failed_one() -> None:
    cluster = compressing_cluster()
    cluster.job_fails(65, said("InvalidModel"))
    cluster.settle()
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert cluster.settle() == [[f"apply Job {cluster.job_name('1')}", "status"]]
    cluster.job_fails(65, said("InvalidModel", "again"), job=cluster.job_name("1"))
    cluster.settle()
    assert cluster.status["failed"]["retry"] == "1"
    assert cluster.condition("Stalled")["message"] == "again" + HOW_TO_RETRY
    assert cluster.names_of("Job") == {cluster.job_name("1")}


def test_a_retry_annotation_does_not_disturb_what_runs_or_serves() -> None:
    cluster = compressing_cluster()
    cluster.add_job_pod(cluster.only("Job"), "Running")
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert cluster.settle() == []
    cluster = ready_cluster()
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert cluster.settle() == []


def test_a_new_recipe_after_a_failed_one_runs_its_job() -> None:
    cluster = compressing_cluster()
    cluster.job_fails(65, said("InvalidModel"))
    cluster.settle()
    cluster.edit(model={"uri": "s3://models/good.keras"})
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "Compressing")
    cluster.job_succeeds()
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert "failed" not in cluster.status


def test_a_failed_job_leaves_the_current_revision_serving() -> None:
    cluster = ready_cluster()
    before = cluster.status["current"]
    cluster.edit(compression=FLOAT16)
    cluster.settle()
    cluster.job_fails(65, said("UnsupportedModel"))
    cluster.settle()
    assert cluster.verdict() == {
        "Ready": "False",
        "Available": "True",
        "Compressed": "False",
        "Reconciling": "False",
        "Stalled": "True",
    }
    assert cluster.status["current"] == before


def test_a_result_that_is_recorded_outlives_job_and_pod() -> None:
    cluster = ready_cluster()
    cluster.pods = {
        name: pod
        for name, pod in cluster.pods.items()
        if pod["metadata"]["labels"][names.ROLE_LABEL] == "entry"
    }
    cluster.wait(60)
    assert cluster.plan() == Plan()
    cluster.objects.pop(("Job", cluster.job_name()))
    assert cluster.plan() == Plan()


def test_a_final_end_that_the_job_does_not_tell_of_yet_is_not_said_to_be_tried_again() -> None:
    cluster = compressing_cluster()
    cluster.add_job_pod(cluster.only("Job"), "Failed", cluster.terminated(65, said("InvalidModel")))
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "Compressing")
