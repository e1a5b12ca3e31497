"""The same artifact by another recipe, or with another Secret: what restarts pods, and what does not."""

from typing import Any

import pytest

from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import OTHER_ARTIFACT, SPEC, FakeCluster, ready_cluster

SAME_CONTENT: dict[str, dict[str, Any]] = {
    "a moved URI": {"model": {"uri": "s3://mirror/digits.keras"}},
    "a version": {"model": {"uri": SPEC["model"]["uri"], "version": "2"}},
    "a renamed Secret": {"model": {"uri": SPEC["model"]["uri"], "secretRef": {"name": "s3-new"}}},
    "moved data": {"data": {"evaluation": {"uri": "s3://mirror/test.npz"}}},
}
OLD, NEW = ({"storage": {"uri": "oci://own/models", "secretRef": {"name": name}}} for name in ("old", "new"))


def without_jobs(cluster: FakeCluster) -> None:
    """Remove the finished Jobs, as after a day."""
    for key in [key for key in cluster.objects if key[0] == "Job"]:
        del cluster.objects[key]
    cluster.pods = {
        name: pod for name, pod in cluster.pods.items() if not name.startswith(cluster.job_name())
    }


def store_secrets(cluster: FakeCluster) -> list[str]:
    """Return the Secrets that the pods of the Deployment mount."""
    volumes = cluster.only("Deployment")["spec"]["template"]["spec"]["volumes"]
    return [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]


@pytest.mark.parametrize("edit", SAME_CONTENT)
def test_a_recipe_that_makes_the_same_artifact_runs_its_job_and_restarts_nothing(edit: str) -> None:
    cluster = ready_cluster()
    before, template = cluster.status["current"], cluster.only("Deployment")["spec"]["template"]
    cluster.edit(**SAME_CONTENT[edit])
    job = cluster.job_name()
    assert cluster.settle() == [[f"apply Job {job}", "status"]]
    cluster.job_succeeds()
    assert cluster.settle() == [["status"]]
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.only("Deployment")["spec"]["template"] == template
    assert cluster.names_of("ControllerRevision") == {before["name"]}
    assert cluster.status["current"]["name"] == before["name"]
    without_jobs(cluster)
    assert cluster.settle() == [], "the status remembers what made the artifact"
    cluster.edit(model=SPEC["model"], data=SPEC["data"])
    assert cluster.settle() == [["status"]], "so does the revision"
    assert cluster.status["current"] == before
    assert cluster.plan() == Plan()


def test_a_recipe_that_makes_another_artifact_rolls_it_out() -> None:
    cluster = ready_cluster()
    cluster.edit(**SAME_CONTENT["a moved URI"])
    cluster.settle()
    cluster.job_succeeds(artifactDigest=OTHER_ARTIFACT)
    assert f"apply ControllerRevision {cluster.revision_name(OTHER_ARTIFACT)}" in cluster.settle()[0]


def test_an_edit_of_the_workers_after_a_moved_uri_is_one_new_revision() -> None:
    cluster = ready_cluster()
    cluster.edit(**SAME_CONTENT["a moved URI"])
    cluster.settle()
    cluster.job_succeeds()
    cluster.settle()
    cluster.edit(serving={"maxBatchSize": 8})
    assert cluster.settle() == [
        [f"apply ControllerRevision {cluster.revision_name()}", "apply Deployment digits", "status"]
    ]
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["name"] == cluster.revision_name()
    assert cluster.plan() == Plan()


def test_a_renamed_secret_of_the_store_is_a_new_revision_of_the_same_artifact() -> None:
    cluster = ready_cluster({**SPEC, **OLD})
    first = cluster.status["current"]["name"]
    assert store_secrets(cluster) == ["old"]
    cluster.edit(**NEW)
    done = cluster.settle()
    assert [word.split()[1] for word in done[0][:-1]] == ["ControllerRevision", "Deployment"]
    assert store_secrets(cluster) == ["new"]
    cluster.roll_out()
    cluster.settle()
    second = cluster.status["current"]["name"]
    assert second != first
    assert cluster.says("Ready") == ("True", "Available")
    without_jobs(cluster)
    assert cluster.settle() == []
    cluster.edit(**OLD)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert store_secrets(cluster) == ["old"]
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["name"] == first


@pytest.mark.parametrize(
    "edit",
    [{"storage": {"uri": "oci://other/models", "secretRef": {"name": "new"}}}, {"storage": None}],
    ids=["another store", "the operator's own"],
)
def test_the_secret_of_another_store_is_not_for_an_artifact_that_is_there_already(
    edit: dict[str, Any],
) -> None:
    cluster = ready_cluster({**SPEC, **OLD})
    cluster.edit(**edit)
    assert cluster.settle() == [["status"]]
    assert store_secrets(cluster) == ["old"]


def test_a_revision_with_a_renamed_secret_that_is_deleted_is_made_again_as_it_was() -> None:
    cluster = ready_cluster({**SPEC, **OLD})
    cluster.edit(**NEW)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    name = cluster.status["current"]["name"]
    lost = cluster.objects.pop(("ControllerRevision", name))
    assert cluster.settle() == [[f"apply ControllerRevision {name}"]]
    made = cluster.objects["ControllerRevision", name]
    assert made["data"]["template"] == lost["data"]["template"]
    assert made["data"]["revisionHash"] == lost["data"]["revisionHash"]


def test_a_lost_revision_is_restored_with_the_store_that_has_its_artifact() -> None:
    cluster = ready_cluster({**SPEC, **OLD})
    name = cluster.status["current"]["name"]
    before = cluster.objects["ControllerRevision", name]["data"]["store"]
    cluster.edit(storage={"uri": "oci://other/models"})
    cluster.settle()
    without_jobs(cluster)
    del cluster.objects["ControllerRevision", name]
    assert cluster.settle() == [[f"apply ControllerRevision {name}"]]
    assert cluster.objects["ControllerRevision", name]["data"]["store"] == before
