"""Jobs of a queue such as Kueue: labelled for it, held back by it, and no failure."""

from modelpress.api import names
from tests.unit.planning.world import SPEC, World, compressing_world

QUEUE = "kueue.x-k8s.io/queue-name"


def test_labels_of_the_spec_stand_on_the_job_and_its_pods_and_ours_win() -> None:
    own = (names.NAME_LABEL, names.ROLE_LABEL, names.RECIPE_LABEL, "app.kubernetes.io/managed-by")
    world = World({**SPEC, "job": {"labels": {QUEUE: "team", **dict.fromkeys(own, "other")}}})
    world.settle()
    job = world.only("Job")
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels[QUEUE] == "team"
        assert "other" not in labels.values()
    world.job_succeeds()
    world.settle()
    assert world.says("Compressed") == ("True", "CompressionSucceeded")


def test_a_suspended_job_waits_for_its_queue_and_is_let_run_by_it() -> None:
    world = compressing_world()
    job = world.only("Job")
    job["spec"]["suspend"] = True
    job["status"] = {"conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended"}]}
    world.wait(3600)
    assert world.settle() == [["status"]]
    assert world.says("Reconciling") == ("True", "JobSuspended")
    assert world.says("Stalled")[0] == "False"
    assert "queue" in world.condition("Ready")["message"]
    assert [(note.type, note.reason) for note in world.notes][-1] == ("Normal", "JobSuspended")
    assert world.plan().requeue is None, "its end is a change of the Job"
    job["spec"]["suspend"] = False
    world.settle()
    assert world.says("Reconciling") == ("True", "Compressing")
    world.job_succeeds()
    world.settle()
    assert world.says("Compressed")[0] == "True"


def test_a_job_that_is_suspended_again_is_no_failure() -> None:
    world = compressing_world()
    job = world.only("Job")
    world.add_job_pod(job, "Failed", world.terminated(143))
    job["spec"]["suspend"] = True
    world.settle()
    assert world.says("Reconciling") == ("True", "JobSuspended")
    assert world.names_of("Job") == {world.job_name()}


def test_a_suspended_job_that_failed_has_failed() -> None:
    world = compressing_world()
    world.only("Job")["spec"]["suspend"] = True
    world.job_fails(65, '{"reason": "InvalidModel", "message": "bad"}')
    world.settle()
    assert world.says("Stalled") == ("True", "InvalidModel")
