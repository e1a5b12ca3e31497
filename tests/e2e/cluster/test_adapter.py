"""The operator's adapter against a real API server, with the rights that manifests/rbac grants."""

import asyncio
import copy
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from modelpress.api import contract, names
from modelpress.api.conditions import Reason
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.controllers.job_slots import JobSlots, Limits
from modelpress.controllers.kubernetes_cluster import KubernetesCluster
from modelpress.controllers.lists import whole
from modelpress.controllers.reflector import Reflector
from modelpress.controllers.resources import JOB, WATCHED
from modelpress.controllers.rest import Rest
from modelpress.controllers.resync import Resync
from modelpress.controllers.store import Store
from modelpress.planning.artifacts.jobs import pods_of
from modelpress.planning.children.drift import differs
from modelpress.planning.children.objects import ref_to
from modelpress.planning.types import EventNote, Key, Mark, Observed, Ref
from tests.support.cluster.controlplane import ControlPlane, wait_until

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
SYSTEM = "modelpress-system"


@pytest.fixture(scope="module")
def kubeconfig(control_plane: ControlPlane, crd: str) -> Path:
    """A kubeconfig of the operator's ServiceAccount."""
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(MANIFESTS / "rbac"))
    return control_plane.kubeconfig_for_service_account(SYSTEM, "modelpress-operator")


class ClusterFixture:
    """The adapter, and a store that `look` fills as watches would."""

    def __init__(self, control_plane: ControlPlane, kubeconfig: Path, namespace: str) -> None:
        self.api = control_plane.admin
        self.namespace = namespace
        self.key = Key(namespace, "digits")
        configuration = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
        self.rest = Rest(configuration)
        self.store = Store()
        self.cluster = KubernetesCluster(self.rest, self.store, JobSlots(Limits(2, 2)))
        self.api.create("modeldeployments", namespace, self.resource())
        self.look()

    def resource(self, name: str = "digits") -> dict[str, Any]:
        """A ModelDeployment to create."""
        spec = {"model": {"uri": "https://example.com/digits.keras"}, "devices": {"type": "CPU"}}
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }

    def look(self) -> None:
        """Fill the store with what the API server has, and nothing else."""
        listed = set()
        for resource in WATCHED:
            for item in self.api.list(resource.plural, self.namespace, resource.label or ""):
                self.store.put(whole(item, resource))
                listed.add(item["metadata"]["uid"])
        for resource in WATCHED:
            for uid in self.store.all_of(resource.kind).keys() - listed:
                self.store.remove(uid)

    def observe(self) -> Observed:
        """Look, and observe the ModelDeployment."""
        self.look()
        observed = self.cluster.observe(self.key)
        assert observed is not None
        return observed

    def child(self, api_version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """An object as the planner renders it."""
        uid = self.api.get("modeldeployments", self.namespace, "digits")["metadata"]["uid"]
        owner = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": "digits",
            "uid": uid,
            "controller": True,
        }
        return {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": names.labels("digits", "worker"),
                "ownerReferences": [owner],
            },
            "spec": spec,
        }

    def deployment(self, **pod: Any) -> dict[str, Any]:
        """A Deployment without replicas."""
        labels = names.worker_selector("digits")
        container = {"name": "worker", "image": "example.com/worker:1", "env": [{"name": "A", "value": "1"}]}
        return self.child(
            "apps/v1",
            "Deployment",
            "digits",
            {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod}},
            },
        )

    def job(self, name: str, **fields: Any) -> dict[str, Any]:
        """A Job that starts no pod."""
        pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": "example.com/job:1"}]}
        spec = {"suspend": True, "template": {"spec": pod}, **fields}
        return self.child("batch/v1", "Job", name, spec)

    def service(self, ports: tuple[int, ...] = (80,), **metadata: Any) -> dict[str, Any]:
        """A load balancer's Service, its labels and annotations replaced or added to."""
        listed = [{"name": f"http-{port}", "port": port, "targetPort": "http"} for port in ports]
        spec = {"type": "LoadBalancer", "selector": names.worker_selector("digits"), "ports": listed}
        body = self.child("v1", "Service", "digits", spec)
        labels = {**metadata.pop("labels", {}), **body["metadata"]["labels"]}
        body["metadata"] |= {**metadata, "labels": labels}
        return body


@pytest.fixture
def fixture(control_plane: ControlPlane, kubeconfig: Path, namespace: str) -> Iterator[ClusterFixture]:
    made = ClusterFixture(control_plane, kubeconfig, namespace)
    yield made
    made.api.delete("modeldeployments", namespace, "digits")


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
    fixture.api.request("PATCH", where, [port], content_type="application/json-patch+json")  # type: ignore[arg-type]
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


def test_the_status_of_a_resource_that_is_gone_is_no_error(fixture: ClusterFixture) -> None:
    observed = fixture.observe()
    fixture.api.delete("modeldeployments", fixture.namespace, "digits")
    with pytest.raises(Stale):
        fixture.cluster.write_status(observed.resource, {"observedGeneration": 1})
    fixture.look()
    assert fixture.cluster.observe(fixture.key) is None
    fixture.api.create("modeldeployments", fixture.namespace, fixture.resource())


def test_only_the_object_that_was_seen_is_deleted(fixture: ClusterFixture) -> None:
    made = fixture.cluster.apply(fixture.job("digits-1"))
    fixture.look()
    fixture.cluster.delete(Ref("Job", fixture.namespace, "digits-1", "an-earlier-uid"))
    assert fixture.api.find("jobs", fixture.namespace, "digits-1")
    fixture.cluster.delete(Ref("Job", fixture.namespace, "digits-1", made["metadata"]["uid"]))
    with pytest.raises(Stale):
        fixture.cluster.observe(fixture.key)
    fixture.cluster.delete(Ref("Job", fixture.namespace, "digits-1", made["metadata"]["uid"]))
    assert fixture.observe().jobs == ()


def test_what_has_changed_since_it_was_seen_is_not_deleted(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    (job,) = fixture.observe().jobs
    seen = ref_to(job, "Job")
    fixture.api.patch("jobs", fixture.namespace, "digits-1", {"metadata": {"labels": {"team": "vision"}}})
    with pytest.raises(Stale):
        fixture.cluster.delete(seen)
    (job,) = fixture.observe().jobs
    fixture.cluster.delete(ref_to(job, "Job"))
    assert fixture.observe().jobs == ()


def test_a_result_is_kept_on_the_job_and_takes_nothing_from_it(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    fixture.api.patch("jobs", fixture.namespace, "digits-1", {"metadata": {"labels": {"team": "vision"}}})
    (before,) = fixture.observe().jobs
    text = "r" * contract.TERMINATION_MESSAGE_LIMIT
    fixture.cluster.annotate(Mark(ref_to(before, "Job"), {names.RESULT_ANNOTATION: text}))
    with pytest.raises(Stale):
        fixture.cluster.observe(fixture.key)
    (after,) = fixture.observe().jobs
    assert after["metadata"]["annotations"].pop(names.RESULT_ANNOTATION) == text
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]
    assert after["spec"] == before["spec"]
    fixture.cluster.apply(fixture.job("digits-1"))  # nor does a second creation take it away
    (again,) = fixture.observe().jobs
    assert again["metadata"]["annotations"][names.RESULT_ANNOTATION] == text


@pytest.mark.parametrize("successor", [False, True])
def test_a_result_is_kept_on_no_other_job_and_makes_none(fixture: ClusterFixture, successor: bool) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    (job,) = fixture.observe().jobs
    fixture.api.delete("jobs", fixture.namespace, "digits-1", propagationPolicy="Background")
    if successor:
        fixture.api.create("jobs", fixture.namespace, fixture.job("digits-1"))
    fixture.cluster.annotate(Mark(ref_to(job, "Job"), {names.RESULT_ANNOTATION: "{}"}))
    found = fixture.observe().jobs
    assert len(found) == successor
    assert all(names.RESULT_ANNOTATION not in (job["metadata"].get("annotations") or {}) for job in found)


def test_the_pods_of_a_job_are_read_live(fixture: ClusterFixture) -> None:
    for name in ("digits-1", "digits-2"):
        fixture.cluster.apply(fixture.job(name, suspend=False))
    observed = fixture.observe()
    job = next(job for job in observed.jobs if job["metadata"]["name"] == "digits-1")
    ref = ref_to(job, "Job")
    wait_until("a pod", lambda: fixture.api.list("pods", fixture.namespace, "job-name=digits-1"))
    live = fixture.cluster.read_live(replace(observed, pods=()), (ref,))
    assert live.live_jobs == {ref.uid}
    (pod,) = live.pods
    assert pod["kind"] == "Pod"
    assert pods_of(job, live) == (pod,)


@pytest.mark.parametrize(
    "edit", [{"spec": {"replicas": 3}}, {"metadata": {"annotations": {names.RETRY_ANNOTATION: "1"}}}, None]
)
def test_what_was_decided_for_an_older_modeldeployment_is_stale(
    fixture: ClusterFixture, edit: dict[str, Any] | None
) -> None:
    observed = fixture.observe()
    assert fixture.cluster.read_live(observed, ()) == observed
    if edit:
        fixture.api.patch("modeldeployments", fixture.namespace, "digits", edit)
    else:
        fixture.api.delete("modeldeployments", fixture.namespace, "digits")
        fixture.api.create("modeldeployments", fixture.namespace, fixture.resource())
    with pytest.raises(Stale):
        fixture.cluster.read_live(observed, ())
    assert fixture.cluster.read_live(fixture.observe(), ()).resource["metadata"]["name"] == "digits"


def test_an_event_shows_with_the_resource(fixture: ClusterFixture, control_plane: ControlPlane) -> None:
    fixture.cluster.record(
        fixture.observe().resource, EventNote("Warning", "EvaluationFailed", "score 80% < 92%")
    )
    shown = control_plane.kubectl("describe", "mdep", "digits", "-n", fixture.namespace).stdout
    assert "EvaluationFailed" in shown
    assert "score 80% < 92%" in shown


def test_what_a_watch_did_not_show_is_read_by_the_resync(fixture: ClusterFixture) -> None:
    made = fixture.cluster.apply(fixture.job("digits-1"))
    fixture.look()
    resync = Resync(fixture.rest, fixture.store, [fixture.namespace])
    writes = fixture.rest.writes()
    told: list[Key] = []

    def compare() -> list[Key]:
        told.clear()
        asyncio.run(resync.compare(0, told.append))
        return told

    def jobs() -> dict[str, int]:
        return {entry.name: entry.version for _, entry in fixture.store.all_of("Job").values()}

    assert compare() == [], "nothing was lost"
    changed = fixture.api.patch("jobs", fixture.namespace, "digits-1", {"metadata": {"labels": {"a": "b"}}})
    assert jobs()["digits-1"] < int(changed["metadata"]["resourceVersion"])
    assert compare() == [fixture.key]
    assert jobs() == {"digits-1": int(changed["metadata"]["resourceVersion"])}
    fixture.api.create("jobs", fixture.namespace, fixture.job("digits-2"))
    assert compare() == [fixture.key]
    assert jobs().keys() == {"digits-1", "digits-2"}
    fixture.api.delete("jobs", fixture.namespace, "digits-1", propagationPolicy="Background")
    wait_until("gone", lambda: fixture.api.find("jobs", fixture.namespace, "digits-1") is None)
    assert compare() == [fixture.key]
    assert jobs().keys() == {"digits-2"}
    assert fixture.store.owner_of(made["metadata"]["uid"]) is None
    assert compare() == []
    assert fixture.rest.writes() == writes


def test_a_reflector_shows_what_is_there_and_each_change(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    store, stopped, told = Store(), threading.Event(), list[Key]()
    reflector = Reflector(fixture.rest, JOB, fixture.namespace, store, threading.Lock())
    thread = threading.Thread(target=reflector.run, args=(told.append, stopped), daemon=True)
    thread.start()

    def shown() -> set[str]:
        return {entry.name for _, entry in store.all_of("Job").values()}

    assert reflector.listed.wait(30)
    assert shown() == {"digits-1"}
    fixture.cluster.apply(fixture.job("digits-2"))
    wait_until("added", lambda: shown() == {"digits-1", "digits-2"})
    fixture.api.delete("jobs", fixture.namespace, "digits-1", propagationPolicy="Background")
    wait_until("removed", lambda: shown() == {"digits-2"})
    assert set(told) == {fixture.key}
    stopped.set()
    fixture.api.delete("jobs", fixture.namespace, "digits-2", propagationPolicy="Background")
    thread.join(30)
    assert not thread.is_alive()


def test_the_manifests_install_as_one(control_plane: ControlPlane) -> None:
    rendered = control_plane.kubectl("kustomize", str(MANIFESTS / "operator")).stdout
    kinds = {body["kind"] for body in yaml.safe_load_all(rendered)}
    assert {"CustomResourceDefinition", "Deployment", "PersistentVolumeClaim", "ClusterRole"} <= kinds
    done = control_plane.kubectl("apply", "-k", str(MANIFESTS / "operator"), "--dry-run=server", check=False)
    assert "would violate PodSecurity" not in done.stderr
