"""What each edit of a running resource does: the table of the resource's documentation, row by row."""

from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import OTHER_ARTIFACT, SPEC, FakeCluster, ready_cluster

NEW_RECIPES: dict[str, dict[str, Any]] = {
    "model": {"model": {"uri": "s3://models/other.keras"}},
    "model.version": {"model": {"uri": "s3://models/digits.keras", "version": "2"}},
    "data": {"data": {"evaluation": {"uri": "s3://models/other.npz"}}},
    "compression": {"compression": {"quantization": {"scheme": "Float16"}}},
    "optimization": {"optimization": {"weightClipping": {"min": "-1", "max": "1"}}},
    "evaluation.metric": {"evaluation": {"metric": "Agreement", "minScore": "92%"}},
}
NEW_REVISIONS: dict[str, dict[str, Any]] = {
    "parallelism": {"parallelism": {"pipeline": 2}},
    "devices.resourceName": {"devices": {"type": "CPU", "resourceName": "example.com/slot"}},
    "serving": {"serving": {"maxBatchSize": 8}},
    "worker": {"worker": {"env": [{"name": "GREETING", "value": "hello"}]}},
}
APPLIED_AT_ONCE: dict[str, tuple[dict[str, Any], str, Any]] = {
    "strategy": ({"strategy": {"type": "Recreate"}}, "strategy", {"type": "Recreate"}),
    "progressDeadlineSeconds": ({"progressDeadlineSeconds": 60}, "progressDeadlineSeconds", 60),
    "replicas": ({"replicas": 5}, "replicas", 5),
}


@pytest.mark.parametrize("field", NEW_RECIPES)
def test_a_new_recipe_runs_a_job_while_the_old_revision_serves(field: str) -> None:
    cluster = ready_cluster()
    before, template = cluster.status["current"], cluster.only("Deployment")["spec"]["template"]
    cluster.edit(**NEW_RECIPES[field])
    assert cluster.settle() == [[f"apply Job {cluster.job_name()}", "status"]]
    assert cluster.verdict() == {
        "Ready": "False",
        "Available": "True",
        "Compressed": "False",
        "Reconciling": "True",
        "Stalled": "False",
    }
    assert cluster.status["current"] == before
    assert cluster.only("Deployment")["spec"]["template"] == template

    cluster.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    revision = cluster.revision_name(OTHER_ARTIFACT)
    assert cluster.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    assert cluster.status["current"] == before
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["name"] == revision
    assert cluster.plan() == Plan()


@pytest.mark.parametrize("field", NEW_REVISIONS)
def test_a_new_revision_of_the_same_artifact_needs_no_job(field: str) -> None:
    cluster = ready_cluster()
    job = cluster.job_name()
    cluster.edit(**NEW_REVISIONS[field])
    assert cluster.settle() == [
        [f"apply ControllerRevision {cluster.revision_name()}", "apply Deployment digits", "status"]
    ]
    assert cluster.says("Compressed") == ("True", "CompressionSucceeded")
    assert cluster.says("Reconciling") == ("True", "RollingOut")
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.names_of("Job") == {job}


@pytest.mark.parametrize("field", APPLIED_AT_ONCE)
def test_settings_of_the_deployment_are_applied_at_once(field: str) -> None:
    edit, key, value = APPLIED_AT_ONCE[field]
    cluster = ready_cluster()
    template = cluster.only("Deployment")["spec"]["template"]
    cluster.edit(**edit)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.only("Deployment")["spec"][key] == value
    assert cluster.only("Deployment")["spec"]["template"] == template
    assert cluster.names_of("ControllerRevision") == {cluster.revision_name()}


@pytest.mark.parametrize("edit", [{"job": {"backoffLimit": 5}}, {"storage": {"uri": "oci://other/models"}}])
def test_job_settings_and_storage_wait_for_the_next_job(edit: dict[str, Any]) -> None:
    cluster = ready_cluster()
    cluster.edit(**edit)
    assert cluster.settle() == [["status"]]
    assert cluster.says("Ready") == ("True", "Available")


def test_a_revision_keeps_the_store_that_has_its_artifact() -> None:
    cluster = ready_cluster()
    cluster.edit(storage={"uri": "oci://other/models", "secretRef": {"name": "other"}})
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    spec = cluster.only("Deployment")["spec"]["template"]["spec"]
    (fetch,) = spec["initContainers"]
    assert {"name": "MODELPRESS_STORE", "value": "oci://registry/models/models"} in fetch["env"]
    assert [volume["name"] for volume in spec["volumes"]] == ["work"]


def test_pure_scaling_is_no_reconciling_and_ready_does_not_flap() -> None:
    cluster = ready_cluster()
    cluster.edit(replicas=4)
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert cluster.says("Available") == ("False", "MinimumReplicasUnavailable")
    assert cluster.condition("Available")["message"] == "2 of 4 pods are ready"
    cluster.add_worker(ready=False)
    cluster.observe_deployment(replicas=3, updatedReplicas=3, availableReplicas=2)
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert (cluster.status["replicas"], cluster.status["readyReplicas"]) == (3, 2)


def test_scaling_to_zero_and_back_changes_no_revision() -> None:
    cluster = ready_cluster()
    revision = cluster.status["current"]
    cluster.edit(replicas=0)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "ScaledToZero")
    assert cluster.plan() == Plan()
    cluster.edit(replicas=1)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.says("Ready") == ("False", "MinimumReplicasUnavailable")
    assert cluster.says("Reconciling") == ("False", "Settled")
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.status["current"] == revision


def test_an_edit_that_is_taken_back_needs_neither_job_nor_revision() -> None:
    cluster = ready_cluster()
    jobs, revisions = cluster.names_of("Job"), cluster.names_of("ControllerRevision")
    cluster.edit(compression={"quantization": {"scheme": "Float16"}})
    cluster.settle()
    running = cluster.job_name()
    cluster.edit(compression=SPEC["compression"])
    assert cluster.settle() == [[f"delete Job {running}", "status"]]
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.names_of("Job") == jobs
    assert cluster.names_of("ControllerRevision") == revisions


def test_a_rollout_that_is_taken_back_ends_at_the_current_revision() -> None:
    cluster = ready_cluster()
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    cluster.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=1)
    cluster.settle()
    cluster.edit(serving=None)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    cluster.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=2)
    cluster.settle()
    assert cluster.says("Reconciling")[0] == "True"
    cluster.observe_deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    cluster.settle()
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert cluster.plan() == Plan()


def test_an_older_revision_of_the_history_is_rolled_out_without_a_job() -> None:
    cluster = ready_cluster()
    first = cluster.status["current"]
    cluster.edit(compression={"quantization": {"scheme": "Float16"}})
    cluster.settle()
    cluster.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    for key in list(cluster.objects):
        if key[0] == "Job":
            del cluster.objects[key]  # a day later
    cluster.edit(compression=SPEC["compression"])
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"] == first


def test_a_running_job_of_an_older_recipe_is_deleted_and_a_finished_one_kept() -> None:
    cluster = ready_cluster()
    finished = cluster.job_name()
    cluster.edit(model={"uri": "s3://models/second.keras"})
    cluster.settle()
    running = cluster.job_name()
    cluster.edit(model={"uri": "s3://models/third.keras"})
    assert cluster.settle() == [[f"apply Job {cluster.job_name()}", f"delete Job {running}", "status"]]
    assert cluster.names_of("Job") == {finished, cluster.job_name()}


def test_history_keeps_three_old_revisions_and_the_current_one() -> None:
    cluster = ready_cluster()
    made = [cluster.revision_name()]
    for size in (1, 2, 3, 4, 5):
        cluster.edit(serving={"maxBatchSize": size})
        cluster.settle()
        cluster.roll_out()
        cluster.settle()
        made.append(cluster.revision_name())
    assert cluster.names_of("ControllerRevision") == set(made[-4:])
    numbers = [cluster.objects["ControllerRevision", name]["revision"] for name in made[-4:]]
    assert numbers == [3, 4, 5, 6]


def test_an_old_revision_that_was_rolled_out_again_is_not_the_first_to_be_deleted() -> None:
    cluster = ready_cluster()
    first = cluster.revision_name()
    for size in (1, 2, 3, None, 4, 5, 6):  # None: the first revision again
        cluster.edit(serving={"maxBatchSize": size} if size else None)
        cluster.settle()
        cluster.roll_out()
        cluster.settle()
    assert first in cluster.names_of("ControllerRevision")
    assert len(cluster.names_of("ControllerRevision")) == 4
    cluster.edit(serving={"maxBatchSize": 7})
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert first not in cluster.names_of("ControllerRevision")
    data = [body for (kind, _), body in cluster.objects.items() if kind == "ControllerRevision"]
    assert len({body["revision"] for body in data}) == len(data)


def test_restarted_at_makes_a_revision_with_the_newest_image_and_an_upgrade_alone_does_not() -> None:
    cluster = ready_cluster()
    cluster.settings = type(cluster.settings)(**{**cluster.settings.__dict__, "worker_image": "worker:2"})
    assert cluster.settle() == []
    cluster.annotate(names.RESTARTED_ANNOTATION, "2026-01-01")
    revision = cluster.revision_name(restarted_at="2026-01-01")
    assert cluster.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    (container,) = cluster.only("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "worker:2"
    assert cluster.status["candidate"]["workerImage"] == "worker:2"


def test_suspend_makes_nothing_new_and_scales() -> None:
    cluster = ready_cluster()
    cluster.edit(suspend=True, replicas=3, serving={"maxBatchSize": 8})
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    deployment = cluster.only("Deployment")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["metadata"]["labels"][names.REVISION_LABEL] == cluster.status["current"]["name"]
    assert cluster.says("Ready") == ("False", "Suspended")
    assert cluster.says("Reconciling") == ("False", "Suspended")
    cluster.edit(compression={"quantization": {"scheme": "Float16"}})
    assert cluster.settle() == [["status"]]
    cluster.edit(suspend=False)
    assert f"apply Job {cluster.job_name()}" in cluster.step()


def test_suspend_of_a_settled_resource_leaves_it_ready() -> None:
    cluster = ready_cluster()
    cluster.edit(suspend=True)
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")


def test_a_suspended_new_resource_makes_no_object() -> None:
    cluster = FakeCluster({**SPEC, "suspend": True})
    assert cluster.settle() == [["status"]]
    assert cluster.says("Ready") == ("False", "Suspended")


def test_a_rollout_under_way_completes_while_suspended() -> None:
    cluster = ready_cluster()
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    cluster.edit(suspend=True)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["name"] == cluster.revision_name()
    assert cluster.says("Ready") == ("True", "Available")
