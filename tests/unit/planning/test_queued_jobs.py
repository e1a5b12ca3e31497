"""Jobs of a queue such as Kueue: labelled for it, held back by it, and no failure."""

from modelpress.api import names
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, compressing_cluster

QUEUE = "kueue.x-k8s.io/queue-name"


def test_labels_of_the_spec_stand_on_the_job_and_its_pods_and_ours_win() -> None:
    own = (names.NAME_LABEL, names.ROLE_LABEL, names.RECIPE_LABEL, "app.kubernetes.io/managed-by")
    cluster = FakeCluster({**SPEC, "job": {"labels": {QUEUE: "team", **dict.fromkeys(own, "other")}}})
    cluster.settle()
    job = cluster.only("Job")
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels[QUEUE] == "team"
        assert "other" not in labels.values()
    cluster.job_succeeds()
    cluster.settle()
    assert cluster.says("Compressed") == ("True", "CompressionSucceeded")


def test_a_suspended_job_waits_for_its_queue_and_is_let_run_by_it() -> None:
    cluster = compressing_cluster()
    job = cluster.only("Job")
    job["spec"]["suspend"] = True
    job["status"] = {"conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended"}]}
    cluster.wait(3600)
    assert cluster.settle() == [["status"]]
    assert cluster.says("Reconciling") == ("True", "JobSuspended")
    assert cluster.says("Stalled")[0] == "False"
    assert "queue" in cluster.condition("Ready")["message"]
    assert [(note.type, note.reason) for note in cluster.notes][-1] == ("Normal", "JobSuspended")
    assert cluster.plan().requeue is None, "its end is a change of the Job"
    job["spec"]["suspend"] = False
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "Compressing")
    cluster.job_succeeds()
    cluster.settle()
    assert cluster.says("Compressed")[0] == "True"


def test_a_job_that_is_suspended_again_is_no_failure() -> None:
    cluster = compressing_cluster()
    job = cluster.only("Job")
    cluster.add_job_pod(job, "Failed", cluster.terminated(143))
    job["spec"]["suspend"] = True
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "JobSuspended")
    assert cluster.names_of("Job") == {cluster.job_name()}


def test_a_suspended_job_that_failed_has_failed() -> None:
    cluster = compressing_cluster()
    cluster.only("Job")["spec"]["suspend"] = True
    cluster.job_fails(65, '{"reason": "InvalidModel", "message": "bad"}')
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "InvalidModel")
