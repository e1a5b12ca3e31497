"""An autoscaler that scales the Deployment and not the ModelDeployment: its number is left and told of."""

import copy
from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.children.managed_fields import slim
from tests.unit.planning.fake_cluster import FakeCluster, ready_cluster
from tests.unit.planning.recorded import Json, entry, recorded

HPA = "kube-controller-manager"
REASON = "AutoscalerMisdirected"


def scaled(cluster: FakeCluster, replicas: int, manager: str = HPA, **fields: Any) -> None:
    """Let somebody set the replicas of the Deployment through /scale."""
    body = owned(cluster)
    body["spec"]["replicas"] = replicas
    body["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].pop("f:replicas", None)
    by = {**entry(manager, {"spec": {"replicas": replicas}}), "subresource": "scale", **fields}
    body["metadata"]["managedFields"] = slim([body["metadata"]["managedFields"][0], by])
    cluster.objects["Deployment", "digits"] = body


def owned(cluster: FakeCluster) -> Json:
    """Return the Deployment with the record of what the operator applied."""
    body = copy.deepcopy(cluster.only("Deployment"))
    return copy.deepcopy(
        recorded({**body, "metadata": {"labels": {}, "annotations": {}, **body["metadata"]}})
    )


def applied(cluster: FakeCluster) -> Json | None:
    """Return the Deployment that the planner applies now."""
    return next((dict(body) for body in cluster.plan().apply if body["kind"] == "Deployment"), None)


def carry_out(cluster: FakeCluster) -> None:
    """Step, and let the API server merge what is applied with what the autoscaler owns."""
    before = cluster.only("Deployment")
    record, replicas = before["metadata"]["managedFields"], before["spec"]["replicas"]
    cluster.step()
    body = cluster.only("Deployment")
    if "managedFields" in body["metadata"]:
        return
    left = "replicas" not in body["spec"]
    body = recorded(copy.deepcopy(body), *(record[1:] if left else ()))
    if left:
        body["spec"]["replicas"] = replicas
    cluster.objects["Deployment", "digits"] = body


def left_to_hpa(replicas: int) -> FakeCluster:
    """Return a cluster whose Deployment an HPA has scaled from two pods."""
    cluster = ready_cluster()
    scaled(cluster, replicas)
    carry_out(cluster)
    carry_out(cluster)
    return cluster


def test_what_an_hpa_sets_is_left_and_the_status_and_an_event_say_where_to_aim() -> None:
    cluster = left_to_hpa(5)
    assert cluster.only("Deployment")["spec"]["replicas"] == 5
    assert cluster.says("Stalled") == ("True", REASON)
    assert cluster.says("Ready") == ("True", "Available")
    assert "kind ModelDeployment, name digits" in cluster.condition("Stalled")["message"]
    assert [note.reason for note in cluster.notes].count(REASON) == 1
    assert cluster.step() == []


def test_its_next_change_needs_no_write() -> None:
    cluster = left_to_hpa(5)
    body = cluster.only("Deployment")
    body["spec"]["replicas"] = 3
    assert cluster.step() == []


@pytest.mark.parametrize("manager", [HPA, "keda"])
def test_autoscalers_are_known_by_the_manager_and_the_subresource(manager: str) -> None:
    cluster = ready_cluster()
    scaled(cluster, 5, manager)
    body = applied(cluster)
    assert body is not None
    assert "replicas" not in body["spec"]


@pytest.mark.parametrize(
    ("manager", "fields"), [("kubectl", {}), (HPA, {"subresource": None}), ("modelpress", {})]
)
def test_what_a_person_or_another_controller_sets_is_put_right(manager: str, fields: Json) -> None:
    cluster = ready_cluster()
    scaled(cluster, 5, manager, **fields)
    body = applied(cluster)
    assert body is not None
    assert body["spec"]["replicas"] == 2


def test_another_number_of_the_spec_takes_the_deployment_back() -> None:
    cluster = left_to_hpa(5)
    cluster.edit(replicas=4)
    carry_out(cluster)
    body = cluster.only("Deployment")
    assert body["spec"]["replicas"] == 4
    assert names.LEFT_ANNOTATION not in body["metadata"]["annotations"]
    carry_out(cluster)
    assert cluster.says("Stalled") == ("False", "Settled")


def test_another_retry_takes_the_deployment_back() -> None:
    cluster = left_to_hpa(5)
    cluster.annotate(names.RETRY_ANNOTATION, "now")
    carry_out(cluster)
    assert cluster.only("Deployment")["spec"]["replicas"] == 2


def test_an_hpa_that_is_still_there_then_wins_once_more_and_no_further() -> None:
    cluster = left_to_hpa(5)
    cluster.edit(replicas=4)
    carry_out(cluster)
    scaled(cluster, 5)
    carry_out(cluster)
    carry_out(cluster)
    assert cluster.only("Deployment")["spec"]["replicas"] == 5
    assert cluster.says("Stalled") == ("True", REASON)
    assert cluster.step() == []


def test_a_change_of_the_spec_is_followed_where_an_autoscaler_only_once_set_the_number() -> None:
    cluster = ready_cluster()
    body = owned(cluster)
    by = {**entry(HPA, {"spec": {"replicas": 2}}), "subresource": "scale"}
    body["metadata"]["managedFields"].append(by)  # an apply of the same value since: both own it
    cluster.objects["Deployment", "digits"] = body
    assert cluster.step() == []
    cluster.edit(replicas=4)
    carry_out(cluster)
    assert cluster.only("Deployment")["spec"]["replicas"] == 4


def test_a_new_revision_rolls_out_with_the_number_of_the_autoscaler() -> None:
    cluster = left_to_hpa(5)
    before = cluster.status["current"]["name"]
    cluster.edit(worker={"env": [{"name": "GREETING", "value": "hello"}]})
    carry_out(cluster)
    assert cluster.only("Deployment")["spec"]["replicas"] == 5
    assert cluster.says("Reconciling")[0] == "True"
    cluster.roll_out()
    carry_out(cluster)
    carry_out(cluster)
    assert cluster.status["current"]["name"] != before
    assert cluster.says("Stalled") == ("True", REASON)
