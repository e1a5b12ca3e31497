"""The operator's adapter against a real API server, with the rights that manifests/rbac grants."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.identity import digest
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.planning.children.drift import differs
from modelpress.planning.types import EventNote, Ref
from tests.support.cluster.adapter import ClusterFixture
from tests.support.cluster.controlplane import ControlPlane, wait_until

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"


def test_an_applied_object_is_seen_and_a_view_from_before_is_stale(fixture: ClusterFixture) -> None:
    assert fixture.observe().deployments == ()
    fixture.cluster.apply(fixture.deployment())
    with pytest.raises(Stale):
        fixture.cluster.observe(fixture.key)
    assert [body["metadata"]["name"] for body in fixture.observe().deployments] == ["digits"]


def test_applying_the_same_again_changes_nothing(fixture: ClusterFixture) -> None:
    first = fixture.cluster.apply(fixture.deployment())
    fixture.look()
    second = fixture.cluster.apply(fixture.deployment())
    assert first["metadata"]["generation"] == second["metadata"]["generation"]
    assert fixture.observe().deployments


def test_what_somebody_added_to_our_lists_is_taken_away(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.deployment())
    change = {"template": {"spec": {"containers": [{"name": "spy", "image": "example.com/spy:1"}]}}}
    fixture.api.request(
        "PATCH",
        f"/apis/apps/v1/namespaces/{fixture.namespace}/deployments/digits",
        {"spec": change},
        content_type="application/strategic-merge-patch+json",
    )
    assert len(fixture.observe().deployments[0]["spec"]["template"]["spec"]["containers"]) == 2
    fixture.cluster.apply(fixture.deployment())
    containers = fixture.observe().deployments[0]["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["worker"]


@pytest.mark.parametrize("behind", [False, True], ids=["seen", "not seen yet"])
def test_an_edit_with_the_record_of_owners_wiped_is_taken_back(fixture: ClusterFixture, behind: bool) -> None:
    fixture.cluster.apply(fixture.deployment())
    fixture.look()
    fixture.api.request(
        "PATCH",
        f"/apis/apps/v1/namespaces/{fixture.namespace}/deployments/digits",
        [
            {"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True},
            {"op": "replace", "path": "/metadata/managedFields", "value": [{}]},
        ],
        content_type="application/json-patch+json",
    )
    if not behind:
        fixture.look()
    applied = fixture.cluster.apply(fixture.deployment(terminationGracePeriodSeconds=5))
    assert "hostNetwork" not in applied["spec"]["template"]["spec"]
    assert applied["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 5


def test_a_service_account_that_is_taken_back_goes(fixture: ClusterFixture) -> None:
    """The API server copies it to an old field, and from there back."""
    fixture.cluster.apply(fixture.deployment(serviceAccountName="builder"))
    fixture.look()
    pod = fixture.cluster.apply(fixture.deployment())["spec"]["template"]["spec"]
    assert not {"serviceAccountName", "serviceAccount"} & pod.keys()


def test_what_was_deleted_behind_the_watch_is_not_applied(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.deployment())
    fixture.look()
    fixture.api.delete("deployments", fixture.namespace, "digits")
    wait_until("gone", lambda: not fixture.api.find("deployments", fixture.namespace, "digits"))
    with pytest.raises(Stale):
        fixture.cluster.apply(fixture.deployment())


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"affnity": {}}, "affnity"),
        ({"affinity": {"nodeAffinity": {"requiredDuringScheduling": {}}}}, "requiredDuringScheduling"),
        ({"tolerations": [{"operator": "Sometimes"}]}, "tolerations"),
        ({"priorityClassName": "UPPER CASE"}, "priorityClassName"),
        ({"tolerations": "all"}, "tolerations"),
    ],
)
def test_bad_pod_settings_are_refused_and_leave_the_deployment_alone(
    fixture: ClusterFixture, pod: dict[str, Any], words: str
) -> None:
    before = fixture.cluster.apply(fixture.deployment())
    fixture.look()
    with pytest.raises(TemplateRefused, match=words) as caught:
        fixture.cluster.apply(fixture.deployment(**pod))
    assert caught.value.reason is Reason.INVALID_POD_SETTINGS
    now = fixture.observe().deployments[0]
    assert now["metadata"]["generation"] == before["metadata"]["generation"]


def test_bad_pod_settings_of_a_job_are_refused(fixture: ClusterFixture) -> None:
    job = fixture.job("digits-1")
    job["spec"]["template"]["spec"]["affnity"] = {}
    with pytest.raises(TemplateRefused, match="affnity") as caught:
        fixture.cluster.apply(job)
    assert caught.value.reason is Reason.INVALID_POD_SETTINGS


def test_a_quota_is_its_own_reason(fixture: ClusterFixture) -> None:
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/deployments.apps": "0"}}}
    fixture.api.request("POST", f"/api/v1/namespaces/{fixture.namespace}/resourcequotas", quota)
    _wait_for_quota(fixture)
    with pytest.raises(TemplateRefused, match="exceeded quota") as caught:
        fixture.cluster.apply(fixture.deployment())
    assert caught.value.reason is Reason.QUOTA_EXCEEDED


def _wait_for_quota(fixture: ClusterFixture) -> None:
    path = f"/api/v1/namespaces/{fixture.namespace}/resourcequotas/few"
    wait_until("quota in force", lambda: fixture.api.request("GET", path).get("status", {}).get("hard"))


def test_a_job_is_created_once_also_by_two_operators(fixture: ClusterFixture) -> None:
    job = fixture.job("digits-1")
    first = fixture.cluster.apply(job)
    assert fixture.cluster.apply(job)["metadata"]["uid"] == first["metadata"]["uid"]
    changed = copy.deepcopy(job)
    changed["spec"]["suspend"] = False
    fixture.cluster.apply(changed)
    assert fixture.observe().jobs[0]["spec"]["suspend"] is True


@pytest.mark.parametrize(
    "loss", [{"labels": {names.NAME_LABEL: None}}, {"ownerReferences": None}], ids=["label", "owner"]
)
def test_a_job_that_lost_its_marks_gets_them_back(fixture: ClusterFixture, loss: dict[str, Any]) -> None:
    made = fixture.cluster.apply(fixture.job("digits-1"))
    fixture.api.patch("jobs", fixture.namespace, "digits-1", {"metadata": loss})
    fixture.look()
    fixture.cluster.apply(fixture.job("digits-1"))
    (job,) = fixture.observe().jobs
    assert job["metadata"]["uid"] == made["metadata"]["uid"]
    assert job["metadata"]["ownerReferences"] == made["metadata"]["ownerReferences"]
    assert job["metadata"]["labels"].items() >= fixture.job("digits-1")["metadata"]["labels"].items()


def test_no_more_jobs_run_than_allowed(fixture: ClusterFixture) -> None:
    assert fixture.observe().free_job_slots == 2
    # a parallelism of 0 starts no pod either, and holds nothing back
    for name in ("digits-1", "digits-2"):
        fixture.cluster.apply(fixture.job(name, suspend=False, parallelism=0))
    with pytest.raises(Stale):
        fixture.cluster.apply(fixture.job("digits-3"))
    assert fixture.observe().free_job_slots == 0


def test_jobs_that_their_queue_holds_back_take_no_slot(fixture: ClusterFixture) -> None:
    for name in ("digits-1", "digits-2", "digits-3"):
        assert fixture.observe().free_job_slots == 2
        fixture.cluster.apply(fixture.job(name))


def test_what_a_cloud_adds_to_a_service_survives_a_change_of_ours(fixture: ClusterFixture) -> None:
    inside = fixture.service()
    inside["spec"]["type"] = "ClusterIP"
    fixture.cluster.apply(inside)
    added = {
        "labels": {"cloud": "a"},
        "annotations": {"cloud.example.com/address": "10.0.0.1"},
        "finalizers": ["service.kubernetes.io/load-balancer-cleanup"],
    }
    fixture.api.patch(
        "services",
        fixture.namespace,
        "digits",
        {"metadata": added, "spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}},
    )
    expected = fixture.service(ports=(80, 81), annotations={"example.com/internal": "true"})
    fixture.look()
    fixture.cluster.apply(expected)
    _check_cloud(fixture)
    # a port that somebody adds can only be taken away by a replacement
    port = {"op": "add", "path": "/spec/ports/-", "value": {"name": "spy", "port": 99}}
    where = f"/api/v1/namespaces/{fixture.namespace}/services/digits"
    fixture.api.request("PATCH", where, [port], content_type="application/json-patch+json")
    fixture.look()
    fixture.cluster.apply(expected)
    assert [port["port"] for port in _check_cloud(fixture)["spec"]["ports"]] == [80, 81]
    fixture.api.patch("services", fixture.namespace, "digits", {"metadata": {"finalizers": None}})


def _check_cloud(fixture: ClusterFixture) -> dict[str, Any]:
    (service,) = fixture.observe().services
    found: dict[str, Any] = service["metadata"]
    assert found["labels"]["cloud"] == "a"
    assert found["annotations"]["cloud.example.com/address"] == "10.0.0.1"
    assert found["annotations"]["example.com/internal"] == "true"
    assert found["finalizers"] == ["service.kubernetes.io/load-balancer-cleanup"]
    assert service["spec"]["loadBalancerClass"] == "example.com/lb"
    return dict(service)


def test_a_service_loses_what_is_taken_out_of_the_spec_and_goes_back_inside_the_cluster(
    fixture: ClusterFixture,
) -> None:
    fixture.cluster.apply(
        fixture.service(labels={"team": "vision"}, annotations={"example.com/internal": "true"})
    )
    fixture.look()
    inside = fixture.service()
    inside["spec"]["type"] = "ClusterIP"
    fixture.cluster.apply(inside)
    (service,) = fixture.observe().services
    assert "team" not in service["metadata"]["labels"]
    assert "annotations" not in service["metadata"]
    assert service["spec"]["type"] == "ClusterIP"
    assert "nodePort" not in service["spec"]["ports"][0]


@pytest.mark.parametrize(
    "metadata", [{"labels": {"team": "a b"}}, {"annotations": {"a b": "c"}}], ids=["label", "annotation"]
)
def test_a_service_that_kubernetes_refuses_is_the_fault_of_the_spec(
    fixture: ClusterFixture, metadata: dict[str, Any]
) -> None:
    with pytest.raises(TemplateRefused, match="a b") as caught:
        fixture.cluster.apply(fixture.service(**metadata))
    assert caught.value.reason is Reason.INVALID_SPEC


def test_a_disruption_budget_comes_is_put_right_and_goes(fixture: ClusterFixture) -> None:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": names.worker_selector("digits")}}
    body = fixture.child(
        "policy/v1", "PodDisruptionBudget", "digits", {**spec, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
    )
    made = fixture.cluster.apply(body)
    change = {"spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"zone": "a"}}}}
    fixture.api.patch("poddisruptionbudgets", fixture.namespace, "digits", change)
    assert differs(body, fixture.observe().disruption_budgets[0])
    fixture.cluster.apply(body)
    (budget,) = fixture.observe().disruption_budgets
    assert not differs(body, budget)
    fixture.cluster.delete(Ref("PodDisruptionBudget", fixture.namespace, "digits", made["metadata"]["uid"]))
    assert fixture.observe().disruption_budgets == ()


@pytest.mark.parametrize("kind", ["Service", "Deployment", "Job", "PodDisruptionBudget"])
def test_an_object_of_somebody_else_is_left_alone(fixture: ClusterFixture, kind: str) -> None:
    ports = {"ports": [{"port": 80}], "selector": names.worker_selector("digits")}
    expected = {
        "Service": fixture.child("v1", "Service", "digits", ports),
        "Deployment": fixture.deployment(),
        "Job": fixture.job("digits"),
        "PodDisruptionBudget": fixture.child(
            "policy/v1", "PodDisruptionBudget", "digits", {"maxUnavailable": 1}
        ),
    }[kind]
    foreign = copy.deepcopy(expected)
    del foreign["metadata"]["ownerReferences"], foreign["metadata"]["labels"]
    before = fixture.api.create(f"{kind.lower()}s", fixture.namespace, foreign)
    with pytest.raises(TemplateRefused) as caught:
        fixture.cluster.apply(expected)
    assert caught.value.reason is Reason.NAME_CONFLICT
    now = fixture.api.get(f"{kind.lower()}s", fixture.namespace, "digits")
    assert now["metadata"].get("labels") == before["metadata"].get("labels")
    assert not now["metadata"].get("ownerReferences")


def test_the_first_of_two_writers_of_a_status_wins(fixture: ClusterFixture) -> None:
    observed = fixture.observe()
    fixture.cluster.write_status(observed.resource, {"observedGeneration": 1, "replicas": 1})
    with pytest.raises(Stale):
        fixture.cluster.write_status(observed.resource, {"observedGeneration": 1, "replicas": 2})
    assert fixture.observe().resource["status"]["replicas"] == 1


def test_a_status_is_replaced_as_a_whole(fixture: ClusterFixture) -> None:
    fixture.cluster.write_status(
        fixture.observe().resource, {"observedGeneration": 1, "url": "http://digits"}
    )
    fixture.cluster.write_status(fixture.observe().resource, {"observedGeneration": 1, "replicas": 0})
    assert fixture.observe().resource["status"] == {"observedGeneration": 1, "replicas": 0}


def test_a_status_with_a_field_that_the_crd_lacks_is_known_to_change_nothing_more(
    fixture: ClusterFixture,
) -> None:
    status = {"observedGeneration": 1, "replicas": 1}
    fixture.cluster.write_status(fixture.observe().resource, status)
    assert fixture.observe().vain_status is None
    newer = {**status, "greeting": "of another release"}
    fixture.cluster.write_status(fixture.observe().resource, newer)
    assert fixture.observe().vain_status == digest(newer)
    fixture.cluster.write_status(fixture.observe().resource, {**newer, "replicas": 2})
    assert fixture.observe().vain_status is None


def test_the_status_of_a_resource_that_is_gone_is_no_error(fixture: ClusterFixture) -> None:
    observed = fixture.observe()
    fixture.api.delete("modeldeployments", fixture.namespace, "digits")
    with pytest.raises(Stale):
        fixture.cluster.write_status(observed.resource, {"observedGeneration": 1})
    fixture.look()
    assert fixture.cluster.observe(fixture.key) is None
    fixture.api.create("modeldeployments", fixture.namespace, fixture.resource())


def test_an_event_shows_with_the_resource(fixture: ClusterFixture, control_plane: ControlPlane) -> None:
    note = EventNote("Warning", "EvaluationFailed", "score 80% < 92%")
    fixture.cluster.record(fixture.observe().resource, (note,))
    shown = control_plane.kubectl("describe", "mdep", "digits", "-n", fixture.namespace).stdout
    assert "EvaluationFailed" in shown
    assert "score 80% < 92%" in shown


def test_the_manifests_install_as_one(control_plane: ControlPlane) -> None:
    rendered = control_plane.kubectl("kustomize", str(MANIFESTS / "operator")).stdout
    kinds = {body["kind"] for body in yaml.safe_load_all(rendered)}
    assert {"CustomResourceDefinition", "Deployment", "PersistentVolumeClaim", "ClusterRole"} <= kinds
    done = control_plane.kubectl("apply", "-k", str(MANIFESTS / "operator"), "--dry-run=server", check=False)
    assert "would violate PodSecurity" not in done.stderr
