"""What comes back is tried again with nobody's help: stores, sources, credentials, quotas, nodes, Secrets.

The tests move the pods by hand, but for those that fetch, which run on the test node. The first and the last
test belong together: what a quota refused is asked for again after a minute.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelpress.api import names
from modelpress.artifacts.image import pack
from modelpress.artifacts.stores.base import open_store
from tests.e2e.cluster.test_bad_edits import set_quota
from tests.e2e.cluster.test_control_loop import bring_up, digits, operator
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import SPEC, fail_job, finish_job, make_ready
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.helpers import Deployed, Operator, merge, now
from tests.support.cluster.node import Node
from tests.support.servers.servers import PASSWORD, USER, Registry, docker_secret, protected_registry
from tests.support.serving.artifacts import convert, make_artifact

__all__ = ["digits", "operator", "protected_registry"]

NODE = "healing-node"
THERE: Json = {"nodeSelector": {"kubernetes.io/hostname": NODE, "example.com/exists": None}}
ANYWHERE: Json = {"nodeSelector": None}
CAPACITY = {"cpu": "8", "memory": "64Gi", "pods": "20", "ephemeral-storage": "100Gi"}
QUOTA_SECONDS = 150  # a quota's first wait is a minute


class IdleNode(Node):
    """A node that runs nothing: the tests move its pods by hand."""

    def _see(self, body: Json, *, gone: bool) -> None:
        """Leave the pod alone."""


@pytest.fixture
def idle_nodes(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Callable[[], IdleNode]]:
    """Makes the node of this name, again after it has gone."""
    api = control_plane.api_as(f"system:node:{NODE}", "system:nodes")
    made: list[IdleNode] = []

    def come() -> IdleNode:
        made.append(IdleNode(api, NODE, CAPACITY, tmp_path))
        made[-1].start()
        wait_until(
            "schedulable", lambda: not control_plane.admin.get("nodes", None, NODE)["spec"].get("taints")
        )
        return made[-1]

    yield come
    go(control_plane, made[-1])
    api.close()


def go(cluster: ControlPlane, node: IdleNode) -> None:
    """Take a node away, and its pods, as the garbage collection of pods would after a minute."""
    node.stop()
    cluster.admin.delete("nodes", None, NODE)
    for pod in cluster.admin.list("pods"):
        if pod["spec"].get("nodeName") == NODE:
            where = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
            cluster.admin.request("DELETE", where, {"gracePeriodSeconds": 0})


@pytest.fixture(scope="module")
def held(control_plane: ControlPlane, operator: Operator, module_namespace: str) -> Deployed:
    """A resource whose Job a quota refuses."""
    return Deployed(control_plane, module_namespace, "held")


def reconciling(deployed: Deployed, reason: str) -> None:
    """Wait until work is held up for a reason, with no verdict that it has failed."""
    deployed.wait(reason, lambda: deployed.condition("Reconciling").get("reason") == reason)
    assert deployed.condition("Reconciling")["status"] == "True"
    assert deployed.condition("Stalled")["status"] == "False"
    assert deployed.kstatus() == "InProgress"
    assert "failed" not in deployed.status


def uids(deployed: Deployed, plural: str) -> set[str]:
    return {body["metadata"]["uid"] for body in deployed.children(plural)}


def test_what_a_quota_refuses_is_no_failure(held: Deployed) -> None:
    lift = set_quota(held, "none", {"count/jobs.batch": "0"})
    held.apply(SPEC)
    reconciling(held, "QuotaExceeded")
    assert "exceeded quota: none" in held.condition("Reconciling")["message"]
    lift()


@pytest.mark.parametrize(
    ("code", "reason"), [(69, "StoreUnavailable"), (69, "SourceUnavailable"), (77, "SourceUnauthorized")]
)
def test_a_job_whose_peer_comes_back_is_made_again(digits: Deployed, code: int, reason: str) -> None:
    digits.apply(merge(SPEC, {"job": {"backoffLimit": 0}}))
    fail_job(digits, code, reason)
    reconciling(digits, reason)
    (failed,) = digits.job_names()
    digits.wait("another Job", lambda: digits.job_names() - {failed}, 60)
    reconciling(digits, reason)
    digits.api.delete("jobs", digits.namespace, failed)  # or it would stay until this one has succeeded
    wait_until("the failed Job gone", lambda: failed not in digits.job_names())
    finish_job(digits)
    make_ready(digits)
    digits.wait_current()
    reasons = [event["reason"] for event in digits.api.list("events", digits.namespace)]
    assert reasons.count(reason) == 1


def test_a_node_that_goes_and_comes_back_fails_neither_job_nor_revision(
    digits: Deployed, idle_nodes: Callable[[], IdleNode]
) -> None:
    def placed(role: str, count: int) -> list[Json]:
        found = digits.api.list("pods", digits.namespace, f"{names.ROLE_LABEL}={role}")
        there = [pod for pod in found if pod["spec"].get("nodeName") == NODE]
        return there if len(there) == count else []

    digits.apply(merge(SPEC, {"job": THERE, "worker": THERE, "replicas": 2, "progressDeadlineSeconds": 10}))
    reconciling(digits, "PodsUnschedulable")
    node = idle_nodes()
    digits.wait("the Job's pod on it", lambda: placed(names.JOB, 1))
    go(digits.cluster, node)
    reconciling(digits, "PodsUnschedulable")

    node = idle_nodes()
    digits.wait("the Job's next pod on it", lambda: placed(names.JOB, 1))
    finish_job(digits)
    digits.wait("workers on it", lambda: placed(names.WORKER, 2))
    make_ready(digits)
    current = digits.wait_current()["current"]
    jobs, sets = uids(digits, "jobs"), uids(digits, "replicasets")

    go(digits.cluster, node)
    digits.wait("the reason", lambda: digits.condition("Available").get("reason") == "PodsUnschedulable")
    assert digits.condition("Available")["status"] == "False"
    assert digits.condition("Stalled")["status"] == "False"
    idle_nodes()
    digits.wait("workers on it again", lambda: placed(names.WORKER, 2))
    make_ready(digits)
    digits.wait("available", lambda: digits.condition("Available")["status"] == "True")
    assert digits.wait_current()["current"] == current
    assert (uids(digits, "jobs"), uids(digits, "replicasets")) == (jobs, sets)
    assert len(digits.children("controllerrevisions")) == 1


@pytest.mark.parametrize(
    "edit",
    [
        {"model": {"uri": "https://mirror.example.com/digits.keras"}},
        {"model": {"version": "2"}},
        {"model": {"secretRef": {"name": "renamed"}}},
    ],
)
def test_a_source_with_the_same_content_is_the_same_revision(digits: Deployed, edit: Json) -> None:
    bring_up(digits)
    (job,) = digits.children("jobs")
    digits.api.delete("jobs", digits.namespace, job["metadata"]["name"])
    wait_until("the Job gone", lambda: not digits.children("jobs"))
    before, pods = digits.status["current"], {pod["metadata"]["uid"] for pod in digits.ready_pods()}
    children = uids(digits, "replicasets"), uids(digits, "controllerrevisions")
    digits.patch(edit)
    finish_job(digits)
    after = digits.wait_current()["current"]
    assert {**after, "recipeHash": before["recipeHash"]} == before
    assert after["recipeHash"] != before["recipeHash"]
    assert {pod["metadata"]["uid"] for pod in digits.ready_pods()} == pods
    assert (uids(digits, "replicasets"), uids(digits, "controllerrevisions")) == children


def secret(folder: Path, registry: Registry, password: str) -> Json:
    """Return the data of a Secret for a registry."""
    text = (docker_secret(folder, registry.host, USER, password) / ".dockerconfigjson").read_text()
    return {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": text}}


def test_a_rotated_secret_restarts_nothing_and_the_next_pod_reads_it(
    digits: Deployed, node: Node, operator: Operator, protected_registry: Registry, tmp_path: Path
) -> None:
    uri = f"oci://{protected_registry.host}/{uuid.uuid4().hex[:8]}"
    good, revoked = (secret(tmp_path / each, protected_registry, each) for each in (PASSWORD, "revoked"))
    convert(tmp_path / "models")
    with pack(make_artifact(tmp_path / "models" / "seed-float32.tflite", tmp_path / "artifact")) as image:
        digest = open_store(uri, secrets=tmp_path / PASSWORD).push(image, "0" * 64)
    digits.api.create("secrets", digits.namespace, {"metadata": {"name": "login"}, **good})
    digits.apply(merge(SPEC, {"storage": {"uri": uri, "secretRef": {"name": "login"}}, "worker": ANYWHERE}))
    finish_job(digits, digest)
    current = digits.wait_current()["current"]
    (first,) = digits.ready_pods()
    since, kept = now(), ("jobs", "controllerrevisions", "replicasets")
    children = [uids(digits, plural) for plural in kept]

    digits.api.patch("secrets", digits.namespace, "login", revoked)
    digits.patch({"replicas": 2})
    digits.wait("the reason", lambda: digits.condition("Available")["reason"] == "StoreUnauthorized")
    assert digits.condition("Ready")["status"] == "True"
    assert digits.condition("Stalled")["status"] == "False"

    digits.api.patch("secrets", digits.namespace, "login", good)
    pods = digits.api.list("pods", digits.namespace, f"{names.ROLE_LABEL}={names.WORKER}")
    (refused,) = [pod for pod in pods if pod["metadata"]["uid"] != first["metadata"]["uid"]]
    digits.api.delete("pods", digits.namespace, refused["metadata"]["name"])
    digits.wait("the next pod", lambda: digits.condition("Available")["status"] == "True")
    assert first["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in digits.ready_pods()}
    assert digits.wait_current()["current"] == current
    assert [uids(digits, plural) for plural in kept] == children
    written = {request.resource for request in digits.writes_since(since, operator.user)}
    assert written <= {"deployments", "poddisruptionbudgets", "modeldeployments/status", "events"}


def test_what_a_quota_refused_is_made_when_it_is_lifted(held: Deployed) -> None:
    held.wait("the Job", held.job_names, QUOTA_SECONDS)
    finish_job(held)
    make_ready(held)
    held.wait_current()
