"""What an edit does: new revisions, new Jobs, and what stays when they fail. The tests follow each other."""

import json

import pytest

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.environment import Cluster
from tests.support.cluster.helpers import JOB_SECONDS, Deployed, Traffic, percent, predict

pytestmark = pytest.mark.timeout(1200)  # the first test waits for all parts of the cluster and a Job
KEPT_REVISIONS = 4  # three old ones beside the current


@pytest.fixture(scope="module")
def digits(cluster: Cluster, module_namespace: str) -> Deployed:
    """Two replicas, so that one serves while the other is replaced."""
    deployed = cluster.deployed(module_namespace, "digits")
    deployed.apply(cluster.spec({"replicas": 2}))
    deployed.wait_current(JOB_SECONDS)
    return deployed


def _variables(pod: Json) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in pod["spec"]["containers"][0]["env"]}


def test_a_second_resource_of_the_same_recipe_reuses_the_artifact(cluster: Cluster, digits: Deployed) -> None:
    twin = cluster.deployed(digits.namespace, "twin")
    twin.apply(cluster.spec({"replicas": 0}))
    status = twin.wait_current(JOB_SECONDS)
    assert "current" not in status, "no pod of it has been ready"
    assert status["candidate"]["artifactDigest"] == digits.status["current"]["artifactDigest"]
    (result,) = [json.loads(_termination_message(pod)) for pod in twin.children("pods")]
    assert result["reused"] is True
    digits.api.delete("modeldeployments", digits.namespace, "twin")


def _termination_message(pod: Json) -> str:
    message: str = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    return message


def test_worker_env_makes_a_new_revision_without_a_job(cluster: Cluster, digits: Deployed) -> None:
    jobs, before = digits.job_names(), digits.status["current"]
    with Traffic(digits, cluster.sources.test_x[:3]) as traffic:
        digits.patch({"worker": {"env": [{"name": "GREETING", "value": "hello"}]}})
        after = digits.wait_current()["current"]
    assert after["name"] != before["name"]
    assert after["artifactDigest"] == before["artifactDigest"]
    assert {_variables(pod).get("GREETING") for pod in digits.ready_pods()} == {"hello"}
    assert digits.job_names() <= jobs
    assert traffic.answers > 0
    assert traffic.failures == []


def test_a_bad_worker_env_is_rolled_back_and_the_recipe_stays_usable(
    cluster: Cluster, digits: Deployed
) -> None:
    jobs, before = digits.job_names(), digits.status["current"]
    with Traffic(digits, cluster.sources.test_x[:3]) as traffic:
        digits.patch({"worker": {"env": [{"name": "PYTHONHOME", "value": "/nonexistent"}]}})
        condition = digits.wait_stalled("RolloutFailed", 120)
        digits.wait("the old pods are back", lambda: len(digits.ready_pods()) == 2)
    assert "exit code" in condition["message"] or "PodCrashed" in condition["message"]
    status = digits.status
    assert status["current"] == before
    assert status["failed"]["revisionHash"]
    assert digits.condition("Ready")["status"] == "False"
    digits.wait("Available", lambda: digits.condition("Available")["status"] == "True")
    assert {_variables(pod).get("GREETING") for pod in digits.ready_pods()} == {"hello"}
    assert traffic.failures == []

    digits.patch({"worker": {"env": [{"name": "GREETING", "value": "again"}]}})
    digits.wait_current()
    assert {_variables(pod).get("GREETING") for pod in digits.ready_pods()} == {"again"}
    assert digits.job_names() <= jobs
    assert not digits.status.get("failed")


def test_a_new_scheme_makes_a_new_job_while_the_old_pods_answer_every_request(
    cluster: Cluster, digits: Deployed
) -> None:
    jobs, before = digits.job_names(), digits.status
    with Traffic(digits, cluster.sources.test_x[:3]) as traffic:
        digits.patch({"compression": {"quantization": {"scheme": "Float16"}}})
        digits.wait("the new Job runs", lambda: digits.job_names() - jobs)
        digits.wait("compressing", lambda: digits.condition("Ready")["status"] == "False")
        assert digits.kstatus() == "InProgress"
        assert digits.status["current"] == before["current"]
        answered_before = traffic.answers
        status = digits.wait_current(JOB_SECONDS)
    cluster.facts.append(f"new scheme: {traffic.answers} requests during Job and rollout, none failed")
    assert traffic.answers > answered_before
    assert traffic.failures == []
    assert status["current"]["recipeHash"] != before["current"]["recipeHash"]
    assert status["current"]["artifactDigest"] != before["current"]["artifactDigest"]
    assert status["current"]["sourceDigest"] == before["current"]["sourceDigest"]
    assert status["compression"]["compressedBytes"] > before["compression"]["compressedBytes"]
    assert len(digits.job_names() - jobs) == 1


def test_an_evaluation_failure_leaves_the_old_revision_and_relaxed_limits_need_no_job(
    cluster: Cluster, digits: Deployed
) -> None:
    jobs, before = digits.job_names(), digits.status["current"]
    with Traffic(digits, cluster.sources.test_x[:3]) as traffic:
        digits.patch({"compression": {"pruning": {"sparsity": "98%"}}})
        condition = digits.wait_stalled("EvaluationFailed", JOB_SECONDS)
    assert "minScore" in condition["message"]
    status = digits.status
    assert status["current"] == before
    assert status["evaluation"]["passed"] is False
    assert percent(status["evaluation"]["compressed"]) < 90
    assert digits.condition("Available")["status"] == "True"
    assert digits.condition("Ready")["status"] == "False"
    assert traffic.failures == []
    failed_job = digits.job_names() - jobs
    assert len(failed_job) == 1

    digits.patch({"evaluation": {"minScore": "0%", "maxDrop": "100%"}})
    status = digits.wait_current()
    assert status["current"]["recipeHash"] != before["recipeHash"]
    assert status["evaluation"]["passed"] is True
    assert not status.get("failed")
    assert digits.job_names() <= jobs | failed_job


def test_a_wrong_pin_is_final(cluster: Cluster, digits: Deployed) -> None:
    jobs, before = digits.job_names(), digits.status["current"]
    digits.patch({"model": {"sha256": "0" * 64}})
    condition = digits.wait_stalled("DigestMismatch", JOB_SECONDS)
    assert cluster.sources.model_sha256 in condition["message"]
    (name,) = digits.job_names() - jobs
    (job,) = [job for job in digits.children("jobs") if job["metadata"]["name"] == name]
    assert job["status"]["failed"] == 1, "no retry: nothing would change"
    assert digits.status["current"] == before
    assert len(digits.ready_pods()) == 2
    (answer,) = predict(digits.addresses()[0], digits.name, cluster.sources.test_x[:1])
    assert answer.shape == (10,)

    digits.annotate(names.RETRY_ANNOTATION, "once more")
    digits.wait("one more Job", lambda: digits.job_names() - jobs - {name})
    digits.wait_stalled("DigestMismatch", JOB_SECONDS)
    jobs |= digits.job_names()

    digits.patch({"model": {"sha256": None}})
    digits.wait_current()
    assert digits.job_names() <= jobs, "the recipe before the pin has its artifact"


def test_the_right_pin_and_the_first_recipe_serve_again(cluster: Cluster, digits: Deployed) -> None:
    digits.patch(
        {
            "model": {"sha256": cluster.sources.model_sha256},
            "compression": {"quantization": {"scheme": "Int8Dynamic"}, "pruning": None},
            "evaluation": {"minScore": "90%", "maxDrop": "2%"},
        }
    )
    status = digits.wait_current(JOB_SECONDS)
    assert status["evaluation"]["passed"] is True
    digits.wait("old revisions gone", lambda: len(digits.children("controllerrevisions")) <= KEPT_REVISIONS)


def test_a_restart_annotation_makes_a_new_revision_of_the_same_artifact(digits: Deployed) -> None:
    jobs, before = digits.job_names(), digits.status["current"]
    digits.annotate(names.RESTARTED_ANNOTATION, "now")
    digits.wait("a new revision", lambda: digits.status["current"]["name"] != before["name"])
    status = digits.wait_current()
    assert status["current"]["artifactDigest"] == before["artifactDigest"]
    assert digits.job_names() <= jobs
