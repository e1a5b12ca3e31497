"""Children that are deleted, edited, or somebody else's."""

from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.types import Plan, Ref
from tests.unit.planning.world import SPEC, World, ready_world

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
    world = ready_world()
    before = world.only(kind)
    name = before["metadata"]["name"]
    del world.objects[kind, name]
    assert world.step()[0] == f"apply {kind} {name}"
    after = world.only(kind)
    lost = {"artifactKey"}  # only the Job knows it, and the status does not show it
    for field in ("spec", "data"):
        wanted = {key: value for key, value in before.get(field, {}).items() if key not in lost}
        assert after.get(field, {}) == wanted
    assert world.verdict()["Stalled"] == "False"


def test_a_deleted_deployment_is_restored_without_a_new_job_or_revision() -> None:
    world = ready_world()
    current = world.status["current"]
    del world.objects["Deployment", "digits"]
    assert world.settle() == [["apply Deployment digits", "status"]]
    world.roll_out()
    world.settle()
    assert world.status["current"] == current
    assert world.says("Ready") == ("True", "Available")


def test_a_deleted_revision_is_restored_after_an_upgrade_that_renders_differently() -> None:
    world = ready_world()
    template = world.only("Deployment")["spec"]["template"]
    template["spec"]["dnsPolicy"] = "ClusterFirst"  # a default of the API server
    del world.objects["ControllerRevision", world.revision_name()]
    world.settings = type(world.settings)(**{**world.settings.__dict__, "worker_image": "worker:2"})
    assert world.settle() == [[f"apply ControllerRevision {world.revision_name()}"]]
    assert world.only("ControllerRevision")["data"]["template"] == template
    assert world.plan() == Plan()


def test_a_deleted_revision_and_deployment_are_rendered_again_with_the_image_they_had() -> None:
    world = ready_world()
    template = world.only("Deployment")["spec"]["template"]
    world.objects = {key: body for key, body in world.objects.items() if key[0] in ("Job", "Service")}
    world.settings = type(world.settings)(**{**world.settings.__dict__, "worker_image": "worker:2"})
    assert world.step() == [
        "apply NetworkPolicy digits",
        f"apply ControllerRevision {world.revision_name()}",
        "apply Deployment digits",
        "apply PodDisruptionBudget digits",
        "status",
    ]
    assert world.only("Deployment")["spec"]["template"] == template


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
    world = ready_world()
    target: Any = world.only(kind)
    for key in path[:-1]:
        target = target[int(key) if isinstance(target, list) else key]
    target[path[-1]] = value
    assert world.step()[0] == f"apply {kind} digits"
    world.roll_out()
    world.settle()
    assert world.plan() == Plan()


@pytest.mark.parametrize("kind", ["Deployment", "Service", "NetworkPolicy"])
def test_an_object_of_somebody_else_is_a_conflict_and_left_alone(kind: str) -> None:
    for owner in ([OTHER_OWNER], []):
        world = World()
        world.objects[kind, "digits"] = {
            "kind": kind,
            "metadata": {"name": "digits", "namespace": "models", "ownerReferences": owner},
        }
        assert world.settle() == [["status"]]
        assert world.says("Stalled") == ("True", "NameConflict")
        assert f"{kind} digits" in world.condition("Stalled")["message"]
        del world.objects[kind, "digits"]
        assert f"apply Job {world.job_name()}" in world.step()


def test_an_object_with_our_label_and_no_controller_is_adopted() -> None:
    world = World()
    world.objects["NetworkPolicy", "digits"] = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "digits", "namespace": "models", "labels": {names.NAME_LABEL: "digits"}},
    }
    assert world.step()[0] == "apply NetworkPolicy digits"
    assert world.only("NetworkPolicy")["metadata"]["ownerReferences"][0]["uid"] == "owner"


@pytest.mark.parametrize("leaving", ["owned by an earlier resource", "being deleted"])
def test_an_object_on_its_way_out_is_waited_for(leaving: str) -> None:
    world = ready_world()
    service = world.only("Service")
    if leaving == "being deleted":
        service["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    else:
        service["metadata"]["ownerReferences"] = [OLD_OWNER]
    assert world.plan().requeue == pytest.approx(5)
    assert world.settle() == [["status"]]
    assert world.says("Reconciling") == ("True", "WaitingForDeletion")
    assert world.says("Stalled")[0] == "False"
    assert world.says("Ready") == ("True", "Available")
    del world.objects["Service", "digits"]
    assert world.settle() == [["apply Service digits", "status"]]


def test_a_job_of_an_earlier_resource_is_waited_for() -> None:
    world = World()
    world.settle()
    world.only("Job")["metadata"]["ownerReferences"] = [OLD_OWNER]
    assert world.plan().requeue == pytest.approx(5)
    world.settle()
    assert world.says("Reconciling") == ("True", "WaitingForDeletion")


def test_a_job_of_somebody_else_is_a_conflict() -> None:
    world = World()
    world.settle()
    world.only("Job")["metadata"]["ownerReferences"] = [OTHER_OWNER]
    world.settle()
    assert world.says("Stalled") == ("True", "NameConflict")


def test_jobs_and_revisions_without_an_owner_are_made_again() -> None:
    world = ready_world()
    for kind in ("Job", "ControllerRevision"):
        world.only(kind)["metadata"]["ownerReferences"] = []
    job, revision = world.only("Job"), world.only("ControllerRevision")
    plan = world.plan()
    assert set(plan.delete) == {
        Ref("Job", "models", job["metadata"]["name"], job["metadata"]["uid"]),
        Ref("ControllerRevision", "models", revision["metadata"]["name"], revision["metadata"]["uid"]),
    }
    world.step()
    world.settle()
    assert world.only("ControllerRevision")["metadata"]["ownerReferences"][0]["uid"] == "owner"
    assert world.says("Ready") == ("True", "Available")


def test_a_revision_whose_content_cannot_be_read_is_made_again() -> None:
    world = ready_world()
    world.only("ControllerRevision")["data"] = {"template": 3}
    world.settle()
    assert world.only("ControllerRevision")["data"]["revisionHash"]
    assert world.says("Ready") == ("True", "Available")


def test_every_child_names_its_owner_and_carries_only_labels_of_ours() -> None:
    world = ready_world({**SPEC, "worker": {"labels": {"team": "vision"}}})
    world.resource["metadata"]["labels"] = {"app.kubernetes.io/instance": "argo"}
    assert len(world.objects) == 6
    for body in world.objects.values():
        metadata = body["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner.get("blockOwnerDeletion")) == ("owner", True, None)
        allowed = {"app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/managed-by"}
        assert all(key.startswith("modelpress.dev/") or key in allowed for key in metadata["labels"])
        assert "annotations" not in metadata
        assert all(len(value) <= 63 for value in metadata["labels"].values())


def test_the_selector_is_the_same_for_every_revision() -> None:
    world = ready_world()
    before = world.only("Deployment")["spec"]["selector"], world.only("Service")["spec"]["selector"]
    world.edit(serving={"maxBatchSize": 8})
    world.settle()
    assert (world.only("Deployment")["spec"]["selector"], world.only("Service")["spec"]["selector"]) == before
    assert before[1] == {names.NAME_LABEL: "digits", names.ROLE_LABEL: "entry"}
