"""Children that are deleted, edited, or somebody else's."""

from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.types import Plan, Ref
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, ready_cluster
from tests.unit.planning.recorded import recorded

OTHER_OWNER = {"apiVersion": "apps/v1", "kind": "Other", "name": "other", "uid": "other", "controller": True}
OLD_OWNER = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "name": "digits",
    "uid": "an earlier one",
    "controller": True,
}


@pytest.mark.parametrize(
    "kind", ["Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ControllerRevision"]
)
def test_a_deleted_child_is_restored_exactly(kind: str) -> None:
    cluster = ready_cluster()
    before = cluster.only(kind)
    name = before["metadata"]["name"]
    del cluster.objects[kind, name]
    assert cluster.step()[0] == f"apply {kind} {name}"
    after = cluster.only(kind)
    lost = {"artifactKey"}  # only the Job knows it, and the status does not show it
    for field in ("spec", "data"):
        expected = {key: value for key, value in before.get(field, {}).items() if key not in lost}
        assert after.get(field, {}) == expected
    assert cluster.verdict()["Stalled"] == "False"


def test_a_deleted_deployment_is_restored_without_a_new_job_or_revision() -> None:
    cluster = ready_cluster()
    current = cluster.status["current"]
    del cluster.objects["Deployment", "digits"]
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"] == current
    assert cluster.says("Ready") == ("True", "Available")


def test_a_deleted_revision_is_restored_after_an_upgrade_that_renders_differently() -> None:
    cluster = ready_cluster()
    template = cluster.only("ControllerRevision")["data"]["template"]
    deployment = recorded(cluster.only("Deployment"))
    deployment["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"  # a default of the API server
    cluster.objects["Deployment", "digits"] = deployment
    del cluster.objects["ControllerRevision", cluster.revision_name()]
    cluster.settings = type(cluster.settings)(**{**cluster.settings.__dict__, "worker_image": "worker:2"})
    assert cluster.settle() == [[f"apply ControllerRevision {cluster.revision_name()}"]]
    assert cluster.only("ControllerRevision")["data"]["template"] == template
    assert cluster.plan() == Plan()


def test_a_deleted_revision_and_deployment_are_rendered_again_with_the_image_they_had() -> None:
    cluster = ready_cluster()
    template = cluster.only("Deployment")["spec"]["template"]
    cluster.objects = {key: body for key, body in cluster.objects.items() if key[0] in ("Job", "Service")}
    cluster.settings = type(cluster.settings)(**{**cluster.settings.__dict__, "worker_image": "worker:2"})
    assert cluster.step() == [
        "apply NetworkPolicy digits",
        f"apply ControllerRevision {cluster.revision_name()}",
        "apply Deployment digits",
        "apply PodDisruptionBudget digits",
        "status",
    ]
    assert cluster.only("Deployment")["spec"]["template"] == template


EDITS: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "replicas": ("Deployment", ("spec", "replicas"), 7),
    "image": ("Deployment", ("spec", "template", "spec", "containers", "0", "image"), "other:1"),
    "label": ("Deployment", ("metadata", "labels", names.NAME_LABEL), "other"),
    "owner": ("Service", ("metadata", "ownerReferences"), []),
    "port": ("Service", ("spec", "ports", "0", "port"), 81),
    "selector": ("Service", ("spec", "selector", "version"), "one"),
    "ingress": ("NetworkPolicy", ("spec", "ingress"), [{}, {}]),
    "type": ("Service", ("spec", "type"), "NodePort"),
    "evictions": ("PodDisruptionBudget", ("spec", "maxUnavailable"), 0),
    "evicted": ("PodDisruptionBudget", ("spec", "selector", "matchLabels", "zone"), "a"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_child_is_put_right(edit: str) -> None:
    kind, path, value = EDITS[edit]
    cluster = ready_cluster()
    target: Any = cluster.only(kind)
    for key in path[:-1]:
        target = target[int(key) if isinstance(target, list) else key]
    target[path[-1]] = value
    assert cluster.step()[0] == f"apply {kind} digits"
    cluster.roll_out()
    cluster.settle()
    assert cluster.plan() == Plan()


@pytest.mark.parametrize("kind", ["Deployment", "Service", "NetworkPolicy"])
def test_an_object_of_somebody_else_is_a_conflict_and_left_alone(kind: str) -> None:
    for owner in ([OTHER_OWNER], []):
        cluster = FakeCluster()
        cluster.objects[kind, "digits"] = {
            "kind": kind,
            "metadata": {"name": "digits", "namespace": "models", "ownerReferences": owner},
        }
        assert cluster.settle() == [["status"]]
        assert cluster.says("Stalled") == ("True", "NameConflict")
        assert f"{kind} digits" in cluster.condition("Stalled")["message"]
        del cluster.objects[kind, "digits"]
        assert f"apply Job {cluster.job_name()}" in cluster.step()


def test_an_object_with_our_label_and_no_controller_is_adopted() -> None:
    cluster = FakeCluster()
    cluster.objects["NetworkPolicy", "digits"] = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "digits", "namespace": "models", "labels": {names.NAME_LABEL: "digits"}},
    }
    assert cluster.step()[0] == "apply NetworkPolicy digits"
    assert cluster.only("NetworkPolicy")["metadata"]["ownerReferences"][0]["uid"] == "owner"


@pytest.mark.parametrize("leaving", ["owned by an earlier resource", "being deleted"])
def test_an_object_on_its_way_out_is_waited_for(leaving: str) -> None:
    cluster = ready_cluster()
    service = cluster.only("Service")
    if leaving == "being deleted":
        service["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    else:
        service["metadata"]["ownerReferences"] = [OLD_OWNER]
    assert cluster.plan().requeue == pytest.approx(5)
    assert cluster.settle() == [["status"]]
    assert cluster.says("Reconciling") == ("True", "WaitingForDeletion")
    assert cluster.says("Stalled")[0] == "False"
    assert cluster.says("Ready") == ("True", "Available")
    del cluster.objects["Service", "digits"]
    assert cluster.settle() == [["apply Service digits", "status"]]


def test_a_job_of_an_earlier_resource_is_waited_for() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.only("Job")["metadata"]["ownerReferences"] = [OLD_OWNER]
    assert cluster.plan().requeue == pytest.approx(5)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "WaitingForDeletion")


def test_a_job_of_somebody_else_is_a_conflict() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.only("Job")["metadata"]["ownerReferences"] = [OTHER_OWNER]
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "NameConflict")


def test_a_job_without_an_owner_is_deleted_and_a_revision_taken_back() -> None:
    cluster = ready_cluster()
    for kind in ("Job", "ControllerRevision"):
        cluster.only(kind)["metadata"]["ownerReferences"] = []
    job, revision = cluster.only("Job"), cluster.only("ControllerRevision")
    assert set(cluster.plan().delete) == {
        Ref("Job", "models", job["metadata"]["name"], job["metadata"]["uid"])
    }
    cluster.step()
    cluster.settle()
    after = cluster.only("ControllerRevision")
    assert after["metadata"]["ownerReferences"][0]["uid"] == "owner"
    assert after["data"] == revision["data"]
    assert cluster.says("Ready") == ("True", "Available")


def test_a_revision_whose_content_cannot_be_read_is_made_again() -> None:
    cluster = ready_cluster()
    cluster.only("ControllerRevision")["data"] = {"template": 3}
    cluster.settle()
    assert cluster.only("ControllerRevision")["data"]["revisionHash"]
    assert cluster.says("Ready") == ("True", "Available")


def test_every_child_names_its_owner_and_carries_only_labels_of_ours() -> None:
    cluster = ready_cluster({**SPEC, "worker": {"labels": {"team": "vision"}}})
    cluster.resource["metadata"]["labels"] = {"app.kubernetes.io/instance": "argo"}
    assert len(cluster.objects) == 6
    for body in cluster.objects.values():
        metadata = body["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner.get("blockOwnerDeletion")) == ("owner", True, None)
        allowed = {"app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/managed-by"}
        assert all(key.startswith("modelpress.dev/") or key in allowed for key in metadata["labels"])
        assert all(key.startswith("modelpress.dev/") for key in metadata.get("annotations", {}))
        assert all(len(value) <= 63 for value in metadata["labels"].values())


def test_the_selector_is_the_same_for_every_revision() -> None:
    cluster = ready_cluster()
    before = cluster.only("Deployment")["spec"]["selector"], cluster.only("Service")["spec"]["selector"]
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    assert (
        cluster.only("Deployment")["spec"]["selector"],
        cluster.only("Service")["spec"]["selector"],
    ) == before
    assert before[1] == {names.NAME_LABEL: "digits", names.ROLE_LABEL: "entry"}
