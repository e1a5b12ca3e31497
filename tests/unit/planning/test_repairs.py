"""A repair of spec.job or spec.storage takes effect; what runs or is done is not disturbed."""

from typing import Any

import pytest

from modelpress.api import names
from tests.unit.planning.fake_cluster import FakeCluster, compressing_cluster, ready_cluster, said

REPAIRS: dict[str, dict[str, Any]] = {
    "image": {"job": {"image": "compressor:right"}},
    "memory": {"job": {"resources": {"limits": {"memory": "8Gi"}}}},
    "nodeSelector": {"job": {"nodeSelector": {"disk": "fast"}}},
    "serviceAccountName": {"job": {"serviceAccountName": "models"}},
    "imagePullSecrets": {"job": {"imagePullSecrets": [{"name": "pull"}]}},
    "activeDeadlineSeconds": {"job": {"activeDeadlineSeconds": 3600}},
    "storage": {"storage": {"uri": "oci://registry.example.com/models"}},
}
PULLING = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
COULD_NOT_START = {"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}}
STATES: dict[str, dict[str, Any] | None] = {
    "no pod": None,
    "pulling": {"state": PULLING},
    "could not start": {"state": COULD_NOT_START},
}
RAN: dict[str, dict[str, Any]] = {
    "running": {"state": {"running": {"startedAt": "2026-01-01T12:00:00Z"}}},
    "ended": {"state": {"terminated": {"exitCode": 69, "reason": "Error"}}},
    "ended before": {"state": PULLING, "lastState": {"terminated": {"exitCode": 69, "reason": "Error"}}},
}


def pod_of(cluster: FakeCluster, status: dict[str, Any] | None, container: str = "job") -> None:
    """Let the Job have a pod with this status of its container."""
    if status is not None:
        pod = cluster.add_job_pod(cluster.only("Job"), "Pending")
        pod["status"]["containerStatuses"] = [{"name": container, **status}]


@pytest.mark.parametrize("repair", REPAIRS)
@pytest.mark.parametrize("state", STATES)
def test_a_job_that_never_ran_is_made_again_with_other_settings(state: str, repair: str) -> None:
    cluster = compressing_cluster()
    pod_of(cluster, STATES[state])
    cluster.settle()
    before = cluster.only("Job")
    cluster.edit(**REPAIRS[repair])
    job = cluster.job_name()
    steps = cluster.settle()
    assert [step for steps_ in steps for step in steps_ if step != "status"] == [
        f"delete Job {job}",
        f"apply Job {job}",
    ]
    after = cluster.only("Job")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"] != before["spec"]
    assert cluster.says("Reconciling") == ("True", "Compressing")
    cluster.job_succeeds()
    cluster.settle()
    assert cluster.says("Compressed")[0] == "True"


def test_what_a_container_that_a_webhook_added_does_is_not_the_jobs_run() -> None:
    cluster = compressing_cluster()
    pod_of(cluster, RAN["running"], container="proxy")
    before = cluster.only("Job")["metadata"]["uid"]
    cluster.edit(**REPAIRS["image"])
    cluster.settle()
    assert cluster.only("Job")["metadata"]["uid"] != before


@pytest.mark.parametrize("state", RAN)
def test_a_job_that_runs_or_ran_is_left_alone(state: str) -> None:
    cluster = compressing_cluster()
    pod_of(cluster, RAN[state])
    cluster.settle()
    before = cluster.only("Job")
    cluster.edit(**REPAIRS["image"])
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    cluster.settle()
    assert cluster.only("Job") == before


def test_that_a_job_never_ran_is_believed_of_a_live_read_only() -> None:
    cluster = compressing_cluster()
    cluster.live = False
    cluster.edit(**REPAIRS["image"])
    assert [ref.name for ref in cluster.plan().unseen] == [cluster.job_name()]
    assert cluster.plan().delete == ()
    cluster.settle()
    cluster.live = True
    pod_of(cluster, RAN["running"])
    assert cluster.settle() == []


def test_only_what_was_seen_is_deleted() -> None:
    cluster = compressing_cluster()
    cluster.only("Job")["metadata"]["resourceVersion"] = "7"
    cluster.edit(**REPAIRS["image"])
    (ref,) = cluster.plan().delete
    assert (ref.uid, ref.version) == (cluster.only("Job")["metadata"]["uid"], "7")


@pytest.mark.parametrize("repair", REPAIRS)
@pytest.mark.parametrize("job_is_gone", [False, True])
def test_a_failed_job_is_made_again_with_other_settings(repair: str, job_is_gone: bool) -> None:
    cluster = compressing_cluster()
    cluster.job_fails(137, reason="OOMKilled")
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "OutOfMemory")
    if job_is_gone:  # a day later
        cluster.objects.pop(("Job", cluster.job_name()))
        cluster.pods.clear()
        assert cluster.settle() == []
    cluster.edit(**REPAIRS[repair])
    cluster.settle()
    assert cluster.says("Stalled")[0] == "False"
    assert cluster.says("Reconciling") == ("True", "Compressing")
    assert "failed" not in cluster.status
    cluster.job_succeeds()
    cluster.settle()
    assert cluster.says("Compressed")[0] == "True"


def test_an_attempt_that_waits_is_made_again_at_once() -> None:
    cluster = compressing_cluster()
    cluster.job_fails(69, said("StoreUnavailable"))
    cluster.settle()
    cluster.edit(**REPAIRS["storage"])
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "Compressing")
    assert cluster.names_of("Job") == {cluster.job_name()}


def test_a_missed_limit_is_not_mended_by_settings_of_the_job() -> None:
    cluster = compressing_cluster()
    scores = {"metric": "Accuracy", "original": 97.5, "compressed": 50.0, "rows": 400}
    cluster.job_succeeds(scores=scores)
    cluster.settle()
    cluster.edit(**REPAIRS["image"])
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", "EvaluationFailed")


def test_a_finished_job_and_what_serves_are_left_alone() -> None:
    cluster = ready_cluster()
    cluster.edit(**REPAIRS["image"])
    assert cluster.settle() == [["status"]]
    assert cluster.says("Ready") == ("True", "Available")


def test_another_release_with_other_images_and_a_job_of_an_earlier_one_replace_nothing() -> None:
    cluster = compressing_cluster()
    settings = {**vars(cluster.settings), "compressor_image": "compressor:2", "store": "oci://other/models"}
    cluster.settings = type(cluster.settings)(**settings)
    assert cluster.settle() == []
    del cluster.only("Job")["metadata"]["annotations"]
    cluster.edit(**REPAIRS["image"])
    assert cluster.settle() == [["status"]]


def test_the_default_written_out_is_no_change() -> None:
    cluster = compressing_cluster()
    cluster.edit(job={"backoffLimit": 2, "activeDeadlineSeconds": 86400})
    assert cluster.settle() == [["status"]]


def test_a_retry_annotation_replaces_a_job_that_never_ran() -> None:
    cluster = compressing_cluster()
    old = cluster.job_name()
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    steps = cluster.settle()
    assert [step[0] for step in steps] == [f"delete Job {old}", f"apply Job {cluster.job_name('1')}"]


def test_suspend_removes_a_job_that_never_ran_and_unsuspend_makes_it_again() -> None:
    cluster = compressing_cluster()
    pod_of(cluster, STATES["pulling"])
    cluster.settle()
    cluster.edit(suspend=True)
    cluster.settle()
    assert not cluster.names_of("Job")
    assert cluster.says("Reconciling") == ("False", "Suspended")
    cluster.edit(suspend=False)
    cluster.settle()
    assert cluster.names_of("Job") == {cluster.job_name()}


def test_suspend_leaves_a_job_that_runs_and_one_that_its_queue_holds() -> None:
    cluster = compressing_cluster()
    cluster.only("Job")["spec"]["suspend"] = True
    cluster.edit(suspend=True)
    cluster.settle()
    assert cluster.names_of("Job") == {cluster.job_name()}
    cluster = compressing_cluster()
    pod_of(cluster, RAN["running"])
    cluster.edit(suspend=True)
    cluster.settle()
    assert cluster.names_of("Job") == {cluster.job_name()}
