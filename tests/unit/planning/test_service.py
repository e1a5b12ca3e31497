"""spec.service: what of it stands on the Service, what others may add, and what an edit does."""

from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, ready_cluster

CHOSEN: dict[str, Any] = {
    "type": "LoadBalancer",
    "labels": {"team": "vision", names.NAME_LABEL: "other"},
    "annotations": {"example.com/internal": "true", names.APPLIED_ANNOTATION: "mine"},
}


def service(cluster: FakeCluster) -> dict[str, Any]:
    return cluster.only("Service")


def test_type_labels_and_annotations_are_those_of_the_spec_and_ours_win() -> None:
    cluster = ready_cluster({**SPEC, "service": CHOSEN})
    metadata = service(cluster)["metadata"]
    assert service(cluster)["spec"]["type"] == "LoadBalancer"
    assert metadata["labels"]["team"] == "vision"
    assert metadata["labels"][names.NAME_LABEL] == "digits"
    assert metadata["annotations"]["example.com/internal"] == "true"
    assert metadata["annotations"][names.APPLIED_ANNOTATION] != "mine"


@pytest.mark.parametrize(
    "edit",
    [
        CHOSEN,
        {"type": "NodePort"},
        {"labels": {"team": "audio"}},
        {"annotations": {"example.com/internal": "false"}},
    ],
)
def test_an_edit_is_applied_at_once_and_restarts_nothing(edit: dict[str, Any]) -> None:
    cluster = ready_cluster()
    cluster.edit(service=edit)
    assert cluster.settle() == [["apply Service digits", "status"]]
    assert cluster.says("Ready") == ("True", "Available")
    assert cluster.plan() == Plan()


@pytest.mark.parametrize("after", [None, {"type": "LoadBalancer"}, {**CHOSEN, "labels": {}}])
def test_what_is_taken_out_of_the_spec_is_applied_though_nothing_is_missing(after: Any) -> None:
    cluster = ready_cluster({**SPEC, "service": CHOSEN})
    cluster.edit(service=after)
    assert cluster.settle() == [["apply Service digits", "status"]]
    assert "team" not in service(cluster)["metadata"]["labels"]


def test_what_a_cloud_adds_is_no_drift() -> None:
    for spec in (SPEC, {**SPEC, "service": CHOSEN}):
        cluster = ready_cluster(spec)
        body = service(cluster)
        body["metadata"]["labels"]["cloud"] = "a"
        body["metadata"].setdefault("annotations", {})["cloud.example.com/address"] = "10.0.0.1"
        body["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
        body["spec"] |= {"clusterIP": "10.0.0.2", "externalTrafficPolicy": "Cluster"}
        body["spec"]["ports"][0]["nodePort"] = 30080
        assert cluster.plan() == Plan()


def test_a_service_without_settings_has_no_annotation_but_the_hash_of_what_was_applied() -> None:
    assert set(service(ready_cluster())["metadata"]["annotations"]) == {names.APPLIED_ANNOTATION}
