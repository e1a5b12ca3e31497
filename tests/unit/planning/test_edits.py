"""What each edit of a running resource does: the table of the resource's documentation, row by row."""

from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.types import Plan
from tests.unit.planning.world import OTHER_ARTIFACT, SPEC, World, ready_world

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
    world = ready_world()
    before, template = world.status["current"], world.only("Deployment")["spec"]["template"]
    world.edit(**NEW_RECIPES[field])
    assert world.settle() == [[f"apply Job {world.job_name()}", "status"]]
    assert world.verdict() == {
        "Ready": "False",
        "Available": "True",
        "Compressed": "False",
        "Reconciling": "True",
        "Stalled": "False",
    }
    assert world.status["current"] == before
    assert world.only("Deployment")["spec"]["template"] == template

    world.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    revision = world.revision_name(OTHER_ARTIFACT)
    assert world.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    assert world.status["current"] == before
    world.roll_out()
    world.settle()
    assert world.status["current"]["name"] == revision
    assert world.plan() == Plan()


@pytest.mark.parametrize("field", NEW_REVISIONS)
def test_a_new_revision_of_the_same_artifact_needs_no_job(field: str) -> None:
    world = ready_world()
    job = world.job_name()
    world.edit(**NEW_REVISIONS[field])
    assert world.settle() == [
        [f"apply ControllerRevision {world.revision_name()}", "apply Deployment digits", "status"]
    ]
    assert world.says("Compressed") == ("True", "CompressionSucceeded")
    assert world.says("Reconciling") == ("True", "RollingOut")
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert world.names_of("Job") == {job}


@pytest.mark.parametrize("field", APPLIED_AT_ONCE)
def test_settings_of_the_deployment_are_applied_at_once(field: str) -> None:
    edit, key, value = APPLIED_AT_ONCE[field]
    world = ready_world()
    template = world.only("Deployment")["spec"]["template"]
    world.edit(**edit)
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.only("Deployment")["spec"][key] == value
    assert world.only("Deployment")["spec"]["template"] == template
    assert world.names_of("ControllerRevision") == {world.revision_name()}


@pytest.mark.parametrize("edit", [{"job": {"backoffLimit": 5}}, {"storage": {"uri": "oci://other/models"}}])
def test_job_settings_and_storage_wait_for_the_next_job(edit: dict[str, Any]) -> None:
    world = ready_world()
    world.edit(**edit)
    assert world.settle() == [["status"]]
    assert world.says("Ready") == ("True", "Available")


def test_a_revision_keeps_the_store_that_has_its_artifact() -> None:
    world = ready_world()
    world.edit(storage={"uri": "oci://other/models", "secretRef": {"name": "other"}})
    world.edit(serving={"maxBatchSize": 8})
    world.settle()
    spec = world.only("Deployment")["spec"]["template"]["spec"]
    (fetch,) = spec["initContainers"]
    assert {"name": "MODELPRESS_STORE", "value": "oci://registry/models"} in fetch["env"]
    assert [volume["name"] for volume in spec["volumes"]] == ["work"]


def test_pure_scaling_is_no_reconciling_and_ready_does_not_flap() -> None:
    world = ready_world()
    world.edit(replicas=4)
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert world.says("Reconciling") == ("False", "Settled")
    assert world.says("Available") == ("False", "MinimumReplicasUnavailable")
    assert world.condition("Available")["message"] == "2 of 4 pods are ready"
    world.add_worker(ready=False)
    world.observe_deployment(replicas=3, updatedReplicas=3, availableReplicas=2)
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert world.says("Reconciling") == ("False", "Settled")
    assert (world.status["replicas"], world.status["readyReplicas"]) == (3, 2)


def test_scaling_to_zero_and_back_changes_no_revision() -> None:
    world = ready_world()
    revision = world.status["current"]
    world.edit(replicas=0)
    world.settle()
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "ScaledToZero")
    assert world.plan() == Plan()
    world.edit(replicas=1)
    assert world.settle() == [["apply Deployment digits", "status"]]
    assert world.says("Ready") == ("False", "MinimumReplicasUnavailable")
    assert world.says("Reconciling") == ("False", "Settled")
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert world.status["current"] == revision


def test_an_edit_that_is_taken_back_needs_neither_job_nor_revision() -> None:
    world = ready_world()
    jobs, revisions = world.names_of("Job"), world.names_of("ControllerRevision")
    world.edit(compression={"quantization": {"scheme": "Float16"}})
    world.settle()
    running = world.job_name()
    world.edit(compression=SPEC["compression"])
    assert world.settle() == [[f"delete Job {running}", "status"]]
    assert world.says("Ready") == ("True", "Available")
    assert world.names_of("Job") == jobs
    assert world.names_of("ControllerRevision") == revisions


def test_a_rollout_that_is_taken_back_ends_at_the_current_revision() -> None:
    world = ready_world()
    world.edit(serving={"maxBatchSize": 8})
    world.settle()
    world.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=1)
    world.settle()
    world.edit(serving=None)
    assert world.settle() == [["apply Deployment digits", "status"]]
    world.observe_deployment(replicas=2, updatedReplicas=1, availableReplicas=2)
    world.settle()
    assert world.says("Reconciling")[0] == "True"
    world.observe_deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    world.settle()
    assert world.says("Reconciling") == ("False", "Settled")
    assert world.plan() == Plan()


def test_an_older_revision_of_the_history_is_rolled_out_without_a_job() -> None:
    world = ready_world()
    first = world.status["current"]
    world.edit(compression={"quantization": {"scheme": "Float16"}})
    world.settle()
    world.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    world.settle()
    world.roll_out()
    world.settle()
    for key in list(world.objects):
        if key[0] == "Job":
            del world.objects[key]  # a day later
    world.edit(compression=SPEC["compression"])
    assert world.settle() == [["apply Deployment digits", "status"]]
    world.roll_out()
    world.settle()
    assert world.status["current"] == first


def test_a_running_job_of_an_older_recipe_is_deleted_and_a_finished_one_kept() -> None:
    world = ready_world()
    finished = world.job_name()
    world.edit(model={"uri": "s3://models/second.keras"})
    world.settle()
    running = world.job_name()
    world.edit(model={"uri": "s3://models/third.keras"})
    assert world.settle() == [[f"apply Job {world.job_name()}", f"delete Job {running}", "status"]]
    assert world.names_of("Job") == {finished, world.job_name()}


def test_history_keeps_three_old_revisions_and_the_current_one() -> None:
    world = ready_world()
    made = [world.revision_name()]
    for size in (1, 2, 3, 4, 5):
        world.edit(serving={"maxBatchSize": size})
        world.settle()
        world.roll_out()
        world.settle()
        made.append(world.revision_name())
    assert world.names_of("ControllerRevision") == set(made[-4:])
    numbers = [world.objects["ControllerRevision", name]["revision"] for name in made[-4:]]
    assert numbers == [3, 4, 5, 6]


def test_restarted_at_makes_a_revision_with_the_newest_image_and_an_upgrade_alone_does_not() -> None:
    world = ready_world()
    world.settings = type(world.settings)(**{**world.settings.__dict__, "worker_image": "worker:2"})
    assert world.settle() == []
    world.annotate(names.RESTARTED_ANNOTATION, "2026-01-01")
    revision = world.revision_name(restarted_at="2026-01-01")
    assert world.settle() == [[f"apply ControllerRevision {revision}", "apply Deployment digits", "status"]]
    (container,) = world.only("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "worker:2"
    assert world.status["candidate"]["workerImage"] == "worker:2"


def test_suspend_makes_nothing_new_and_scales() -> None:
    world = ready_world()
    world.edit(suspend=True, replicas=3, serving={"maxBatchSize": 8})
    assert world.settle() == [["apply Deployment digits", "status"]]
    deployment = world.only("Deployment")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["metadata"]["labels"][names.REVISION_LABEL] == world.status["current"]["name"]
    assert world.says("Ready") == ("False", "Suspended")
    assert world.says("Reconciling") == ("False", "Suspended")
    world.edit(compression={"quantization": {"scheme": "Float16"}})
    assert world.settle() == [["status"]]
    world.edit(suspend=False)
    assert f"apply Job {world.job_name()}" in world.step()


def test_suspend_of_a_settled_resource_leaves_it_ready() -> None:
    world = ready_world()
    world.edit(suspend=True)
    world.settle()
    assert world.says("Ready") == ("True", "Available")


def test_a_suspended_new_resource_makes_no_object() -> None:
    world = World({**SPEC, "suspend": True})
    assert world.settle() == [["status"]]
    assert world.says("Ready") == ("False", "Suspended")


def test_a_rollout_under_way_completes_while_suspended() -> None:
    world = ready_world()
    world.edit(serving={"maxBatchSize": 8})
    world.settle()
    world.edit(suspend=True)
    world.settle()
    world.roll_out()
    world.settle()
    assert world.status["current"]["name"] == world.revision_name()
    assert world.says("Ready") == ("True", "Available")
