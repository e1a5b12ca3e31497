"""What the operator does about each edit that somebody makes of its children, on a real API server.

The pods are never started. An edit "stays" where it outlives a later one of its object that is reverted.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from modelpress.api import names
from tests.e2e.cluster.test_control_loop import operator
from tests.support.cluster.api import Json, path
from tests.support.cluster.by_hand import SPEC, finish_job
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.fixtures import FACTS, fresh_namespace
from tests.support.cluster.helpers import Deployed, Operator

__all__ = ["operator"]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
POLICIES, BUDGETS = "networkpolicies", "poddisruptionbudgets"
# An edit of each kind that is reverted, and the field that tells.
MARKS: dict[str, tuple[str, Json]] = {
    "deployments": ("minReadySeconds", {"spec": {"minReadySeconds": 7}}),
    "services": ("publishNotReadyAddresses", {"spec": {"publishNotReadyAddresses": True}}),
}


@dataclass(frozen=True)
class Edit:
    """One edit: of what, its content, and how it is sent."""

    plural: str
    content: Any
    how: str = STRATEGIC


def pod(**fields: Any) -> Edit:
    """Edit the pods' template."""
    return Edit("deployments", {"spec": {"template": {"spec": fields}}})


def worker(**fields: Any) -> Edit:
    """Edit the container that serves."""
    return pod(containers=[{"name": "worker", **fields}])


def secure(**fields: Any) -> Edit:
    """Edit its security context."""
    return worker(securityContext=fields)


def of(plural: str, **spec: Any) -> Edit:
    """Edit a spec."""
    return Edit(plural, {"spec": spec})


def steps(plural: str, *operations: tuple[str, str, Any]) -> Edit:
    """Edit by a JSON patch."""
    content = [{"op": op, "path": where, "value": value} for op, where, value in operations]
    return Edit(plural, content, JSON_PATCH)


def applied(plural: str, **spec: Any) -> Edit:
    """Edit by a server-side apply of another manager."""
    return Edit(plural, {"spec": spec}, APPLY)


def kubectl(*arguments: str) -> Edit:
    """Edit by a command."""
    return Edit("deployments", arguments, "kubectl")


WORKER = "/spec/template/spec/containers/0"
SPY = {"name": "spy", "image": "example.com/spy:1"}
HOST_PATH = {"name": "host", "hostPath": {"path": "/"}}
REVERTED: dict[str, Edit] = {
    # what a pod may do
    "hostNetwork": pod(hostNetwork=True),
    "hostPID": pod(hostPID=True),
    "hostIPC": pod(hostIPC=True),
    "shareProcessNamespace": pod(shareProcessNamespace=True),
    "pod's runAsUser 0": pod(securityContext={"runAsUser": 0}),
    "pod's runAsNonRoot false": pod(securityContext={"runAsNonRoot": False}),
    "pod's seccomp Unconfined": pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
    "pod's supplementalGroups": pod(securityContext={"supplementalGroups": [0]}),
    "pod's sysctls": pod(securityContext={"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}),
    "added capabilities": secure(capabilities={"add": ["SYS_ADMIN"]}),
    "container's runAsUser 0": secure(runAsUser=0, runAsNonRoot=False),
    "readOnlyRootFilesystem false": secure(readOnlyRootFilesystem=False),
    "serviceAccountName": pod(serviceAccountName="builder"),
    "allowPrivilegeEscalation": secure(allowPrivilegeEscalation=True),
    "enableServiceLinks": pod(enableServiceLinks=True),
    "automountServiceAccountToken": pod(automountServiceAccountToken=True),
    "a host path": pod(
        volumes=[HOST_PATH],
        containers=[{"name": "worker", "volumeMounts": [{"name": "host", "mountPath": "/host"}]}],
    ),
    "hostPort": worker(ports=[{"containerPort": 8080, "protocol": "TCP", "hostPort": 8080}]),
    "an annotation that loosens the runtime": Edit(
        "deployments",
        {"spec": {"template": {"metadata": {"annotations": {"io.kubernetes.cri-o.Devices": "/dev/kvm"}}}}},
    ),
    # what it runs
    "image": worker(image="example.com/other:1"),
    "image by kubectl": kubectl("set", "image", "deployment/digits", "worker=example.com/other:2"),
    "command": worker(command=["sh"]),
    "args": worker(args=["--debug"]),
    "a variable more": worker(env=[{"name": "DEBUG", "value": "1"}]),
    "another value of a variable": worker(env=[{"name": "HOME", "value": "/"}]),
    "envFrom": worker(envFrom=[{"secretRef": {"name": "keys"}}]),
    "lifecycle": worker(lifecycle={"postStart": {"exec": {"command": ["true"]}}}),
    "resources": worker(resources={"limits": {"cpu": "7"}}),
    "no readiness probe": steps("deployments", ("remove", f"{WORKER}/readinessProbe", None)),
    "a startup probe": worker(startupProbe={"tcpSocket": {"port": 8080}}),
    "no ports": steps("deployments", ("remove", f"{WORKER}/ports", None)),
    "a container more": pod(containers=[SPY]),
    "an init container more": pod(initContainers=[SPY]),
    "an emptyDir more": pod(volumes=[{"name": "more", "emptyDir": {}}]),
    "hostAliases": pod(hostAliases=[{"ip": "10.1.1.1", "hostnames": ["registry.example.com"]}]),
    "dnsPolicy and dnsConfig": pod(dnsPolicy="None", dnsConfig={"nameservers": ["10.1.1.1"]}),
    "imagePullSecrets": pod(imagePullSecrets=[{"name": "keys"}]),
    "terminationGracePeriodSeconds": pod(terminationGracePeriodSeconds=1),
    # where it runs
    "tolerations": pod(tolerations=[{"operator": "Exists"}]),
    "nodeSelector": pod(nodeSelector={"zone": "a"}),
    "affinity": pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
    "schedulerName": pod(schedulerName="other"),
    "priorityClassName": pod(priorityClassName="system-node-critical"),
    "runtimeClassName": pod(runtimeClassName="other"),
    "no topologySpreadConstraints": steps(
        "deployments", ("remove", "/spec/template/spec/topologySpreadConstraints", None)
    ),
    # how it is rolled out
    "replicas by kubectl scale": kubectl("scale", "deployment/digits", "--replicas=5"),
    "kubectl rollout pause": kubectl("rollout", "pause", "deployment/digits"),
    "minReadySeconds": of("deployments", minReadySeconds=60),
    "strategy": of("deployments", strategy={"type": "Recreate", "rollingUpdate": None}),
    "progressDeadlineSeconds": of("deployments", progressDeadlineSeconds=1000),
    "a label of the pods": Edit(
        "deployments", {"spec": {"template": {"metadata": {"labels": {"app": "other"}}}}}
    ),
    "our label": Edit("deployments", {"metadata": {"labels": {"app.kubernetes.io/name": "other"}}}),
    "no owner": steps("deployments", ("remove", "/metadata/ownerReferences", None)),
    "no hash of what was applied": Edit(
        "deployments", {"metadata": {"annotations": {names.APPLIED_ANNOTATION: None}}}
    ),
    "hostNetwork, and the record of owners wiped": steps(
        "deployments",
        ("add", "/spec/template/spec/hostNetwork", True),
        ("replace", "/metadata/managedFields", [{}]),
    ),
    # the same by server-side apply, of which the API server records no defaults
    "applied hostNetwork": applied("deployments", template={"spec": {"hostNetwork": True}}),
    "applied serviceAccountName": applied(
        "deployments", template={"spec": {"serviceAccountName": "builder"}}
    ),
    "applied container": applied("deployments", template={"spec": {"containers": [SPY]}}),
    "applied externalIPs": applied("services", externalIPs=["10.1.1.1"]),
    # who may send to it
    "externalIPs": of("services", externalIPs=["10.1.1.1"]),
    "type NodePort": of("services", type="NodePort"),
    "type LoadBalancer": of("services", type="LoadBalancer"),
    "a selector's key more": of("services", selector={"zone": "a"}),
    "another selector": steps("services", ("replace", "/spec/selector", {"app": "other"})),
    "publishNotReadyAddresses": of("services", publishNotReadyAddresses=True),
    "sessionAffinity": of("services", sessionAffinity="ClientIP"),
    "internalTrafficPolicy": of("services", internalTrafficPolicy="Local"),
    "a port more": steps("services", ("add", "/spec/ports/-", {"name": "spy", "port": 99})),
    "another port in the place of all": Edit(
        "services", {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}}, MERGE
    ),
    "another target port": steps("services", ("replace", "/spec/ports/0/targetPort", 99)),
    "podSelector.matchExpressions": of(
        POLICIES,
        podSelector={"matchExpressions": [{"key": names.NAME_LABEL, "operator": "DoesNotExist"}]},
    ),
    "another podSelector": steps(POLICIES, ("replace", "/spec/podSelector", {"matchLabels": {"a": "b"}})),
    "ingress from an address": steps(
        POLICIES, ("add", "/spec/ingress/0/from", [{"ipBlock": {"cidr": "10.0.0.0/8"}}])
    ),
    "ingress from all to all": steps(POLICIES, ("add", "/spec/ingress/-", {})),
    "no ingress": steps(POLICIES, ("remove", "/spec/ingress", None)),
    "egress": of(POLICIES, policyTypes=["Ingress", "Egress"], egress=[]),
    "no eviction": of(BUDGETS, maxUnavailable=0),
    "evictions of all": of(BUDGETS, maxUnavailable="100%"),
    "another budget's selector": steps(BUDGETS, ("replace", "/spec/selector", {"matchLabels": {"a": "b"}})),
    "unhealthyPodEvictionPolicy": of(BUDGETS, unhealthyPodEvictionPolicy="IfHealthyBudget"),
}
STAYS: dict[str, Edit] = {
    "a label of theirs": Edit("deployments", {"metadata": {"labels": {"team": "ml"}}}),
    "an annotation of theirs": Edit("deployments", {"metadata": {"annotations": {"argocd/id": "a"}}}),
    "a finalizer": Edit("deployments", {"metadata": {"finalizers": ["example.com/wait"]}}),
    "kubectl rollout restart": kubectl("rollout", "restart", "deployment/digits"),
    "a Service's label and annotation": Edit(
        "services", {"metadata": {"labels": {"team": "ml"}, "annotations": {"cloud": "a"}}}
    ),
    "a cloud's finalizer": Edit("services", {"metadata": {"finalizers": ["example.com/balancer"]}}),
    "a family policy": of("services", ipFamilyPolicy="PreferDualStack"),
}


@pytest.fixture(scope="module")
def digits(control_plane: ControlPlane, operator: Operator, crd: str) -> Iterator[Deployed]:
    """A resource with all its children; its finalizers are taken away at the end."""
    for namespace in fresh_namespace(control_plane):
        made = Deployed(control_plane, namespace, "digits")
        made.apply({**SPEC, "replicas": 2})
        finish_job(made)
        for plural in ("deployments", "services", POLICIES, BUDGETS):
            wait_until(plural, partial(made.children, plural))
        yield made
        for plural in MARKS:
            made.api.patch(plural, namespace, "digits", {"metadata": {"finalizers": None}})


def send(digits: Deployed, edit: Edit) -> None:
    """Make an edit."""
    if edit.how == "kubectl":
        digits.cluster.kubectl("-n", digits.namespace, *edit.content)
        return
    content, query = edit.content, {"fieldManager": "kubectl-edit"}
    if edit.how == APPLY:
        kinds = {"deployments": ("apps/v1", "Deployment"), "services": ("v1", "Service")}
        version, kind = kinds[edit.plural]
        content = {"apiVersion": version, "kind": kind, "metadata": {"name": "digits"}, **content}
        query = {"fieldManager": "argocd-controller", "force": "true"}
    where = path(edit.plural, digits.namespace, "digits")
    digits.api.request("PATCH", where, content, content_type=edit.how, **query)


def read(digits: Deployed, plural: str) -> Json:
    """Return what an edit can change of a child."""
    body = digits.api.get(plural, digits.namespace, "digits")
    metadata = body["metadata"]
    kept = {key: metadata.get(key) for key in ("labels", "annotations", "ownerReferences", "finalizers")}
    revision = "deployment.kubernetes.io/revision"  # counted by the Deployment controller
    kept["annotations"] = {
        key: value for key, value in (kept["annotations"] or {}).items() if key != revision
    }
    return {"metadata": kept, "spec": body["spec"]}


def settled(digits: Deployed, plural: str, before: Json) -> Json:
    """Wait until a child is as before."""

    def is_back() -> Json | None:
        now = read(digits, plural)
        return now if now == before else None

    try:
        return wait_until(f"{plural} as before", is_back, 30)
    except AssertionError:
        now = read(digits, plural)
        raise AssertionError(json.dumps({"before": before, "now": now}, indent=1)) from None


def mark(digits: Deployed, plural: str) -> None:
    """Have the operator look at a child: make an edit that it reverts, and wait for that."""
    field, content = MARKS[plural]
    send(digits, Edit(plural, content))
    wait_until("reverted", lambda: not read(digits, plural)["spec"].get(field), 30)


@pytest.mark.parametrize("name", REVERTED)
def test_an_edit_is_reverted(digits: Deployed, name: str, request: pytest.FixtureRequest) -> None:
    edit = REVERTED[name]
    before = read(digits, edit.plural)
    send(digits, edit)
    settled(digits, edit.plural, before)
    request.config.stash.setdefault(FACTS, []).append(f"{edit.plural:20} {name:50} reverted")


@pytest.mark.parametrize("name", STAYS)
def test_an_edit_stays(digits: Deployed, name: str, request: pytest.FixtureRequest) -> None:
    edit = STAYS[name]
    before = read(digits, edit.plural)
    send(digits, edit)
    after = read(digits, edit.plural)
    assert after != before
    mark(digits, edit.plural)
    assert read(digits, edit.plural) == after
    request.config.stash.setdefault(FACTS, []).append(f"{edit.plural:20} {name:50} stays")


def test_a_default_that_another_manager_applies_is_claimed_no_longer(digits: Deployed) -> None:
    claim = {"spec": {"template": {"spec": {"dnsPolicy": "ClusterFirst"}}}}
    send(digits, Edit("deployments", claim, APPLY))

    def claimants() -> list[str]:
        record = digits.api.get("deployments", digits.namespace, "digits")["metadata"]["managedFields"]
        return [entry["manager"] for entry in record if "f:dnsPolicy" in json.dumps(entry)]

    wait_until("nobody's or ours", lambda: "argocd-controller" not in claimants())
    mark(digits, "services")
    assert "argocd-controller" not in claimants()
    assert "dnsPolicy" not in digits.condition("Reconciling")["message"]
