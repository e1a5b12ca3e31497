"""From kubectl apply to predictions: one ModelDeployment, seen from outside at every step."""

import json
from typing import Any

import numpy as np
import pytest

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.controlplane import tally, wait_until
from tests.support.cluster.environment import Cluster
from tests.support.cluster.helpers import JOB_SECONDS, SLOT, Deployed, now, percent, predict
from tests.support.cluster.oracle import serving_form

RESYNCS = 10
pytestmark = pytest.mark.timeout(1200)  # the first test waits for all parts of the cluster and a Job


@pytest.fixture(scope="module")
def digits(cluster: Cluster, module_namespace: str) -> Deployed:
    """A compressed classifier on two devices in each pod, ready."""
    deployed = cluster.deployed(module_namespace, "digits")
    since = deployed.apply(cluster.spec())
    status = deployed.wait_current(JOB_SECONDS)
    until = next(c["lastTransitionTime"] for c in status["conditions"] if c["type"] == "Ready")
    requests = cluster.control_plane.audit(user=cluster.operator.user, since=since)
    mine = [r for r in requests if r.namespace == module_namespace]
    cluster.facts.append(
        f"apply {since[11:19]} to Ready {until[11:19]}: {len(mine)} API requests about it, {tally(mine)}"
    )
    return deployed


def test_the_status_says_all_that_the_design_promises(cluster: Cluster, digits: Deployed) -> None:
    body = digits.read()
    status = body["status"]
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert {kind: condition["status"] for kind, condition in conditions.items()} == {
        "Ready": "True",
        "Available": "True",
        "Compressed": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    assert status["observedGeneration"] == body["metadata"]["generation"]
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["selector"] == names.selector_text(names.worker_selector("digits"))
    assert status["url"] == f"http://digits.{digits.namespace}.svc.cluster.local"
    current = status["current"]
    assert current["workerImage"] == cluster.worker_image
    assert current["sourceDigest"] == f"sha256:{cluster.sources.model_sha256}"
    assert current["artifactDigest"].startswith("sha256:")
    assert len(current["recipeHash"]) == 64
    assert not status.get("candidate")
    assert not status.get("failed")
    sizes = status["compression"]
    assert sizes["originalBytes"] > sizes["compressedBytes"] > 0
    assert float(sizes["ratio"]) == pytest.approx(sizes["originalBytes"] / sizes["compressedBytes"], abs=0.01)
    scores = status["evaluation"]
    assert (scores["metric"], scores["passed"]) == ("Accuracy", True)
    assert percent(scores["compressed"]) >= 90
    drop = percent(scores["original"]) - percent(scores["compressed"])
    assert percent(scores["drop"]) == pytest.approx(drop, abs=1e-5)


def test_kubectl_get_shows_readiness_ratio_and_score(cluster: Cluster, digits: Deployed) -> None:
    shown = cluster.control_plane.kubectl("get", "mdep", "digits", "-n", digits.namespace).stdout
    cluster.facts.append(f"kubectl get mdep digits:\n{shown}")
    header, row = (line.split() for line in shown.splitlines())
    status = digits.status
    assert header == ["NAME", "READY", "REASON", "DESIRED", "AVAILABLE", "RATIO", "SCORE", "AGE"]
    assert row[:5] == ["digits", "True", "Available", "1", "1"]
    assert row[5:7] == [status["compression"]["ratio"], status["evaluation"]["compressed"]]


def test_one_job_made_one_revision_and_its_deployment_requests_the_devices(digits: Deployed) -> None:
    (job,) = digits.children("jobs")
    assert job["status"]["succeeded"] == 1
    (revision,) = digits.children("controllerrevisions")
    assert revision["metadata"]["name"] == digits.status["current"]["name"]
    assert revision["data"]["artifactDigest"] == digits.status["current"]["artifactDigest"]
    (deployment,) = digits.children("deployments")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"][SLOT] == "2"
    (pod,) = digits.ready_pods()
    assert pod["spec"]["containers"][0]["resources"]["requests"][SLOT] == "2"
    (service,) = digits.children("services")
    selector = service["spec"]["selector"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    (policy,) = digits.children("networkpolicies")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    for kind in ("jobs", "controllerrevisions", "deployments", "services", "networkpolicies"):
        (child,) = digits.children(kind)
        assert "kubectl.kubernetes.io/last-applied-configuration" not in child["metadata"].get(
            "annotations", {}
        )
        assert "app.kubernetes.io/instance" not in child["metadata"]["labels"]


def test_a_prediction_equals_the_local_one(cluster: Cluster, digits: Deployed) -> None:
    (address,) = digits.addresses()
    model = serving_form(cluster.repository(digits.namespace), digits.status["current"]["artifactDigest"])
    for rows in (1, 2, 7, 32, 65):
        images = cluster.sources.test_x[:rows]
        np.testing.assert_array_equal(predict(address, "digits", images), model(images))


def test_the_served_accuracy_is_the_one_in_the_status(cluster: Cluster, digits: Deployed) -> None:
    (address,) = digits.addresses()
    answers = predict(address, "digits", cluster.sources.test_x).argmax(axis=-1)
    accuracy = 100 * float((answers == cluster.sources.test_y).mean())
    assert percent(digits.status["evaluation"]["compressed"]) == pytest.approx(accuracy, abs=1e-5)


def test_kubectl_get_shows_the_columns(cluster: Cluster, digits: Deployed) -> None:
    shown = cluster.control_plane.kubectl("-n", digits.namespace, "get", "mdep", "-o", "wide").stdout
    header, row = shown.splitlines()
    assert header.split() == [
        "NAME",
        "READY",
        "REASON",
        "DESIRED",
        "AVAILABLE",
        "RATIO",
        "SCORE",
        "AGE",
        "URL",
    ]
    assert row.split()[:4] == ["digits", "True", "Available", "1"]
    assert row.split()[-1] == digits.status["url"]


def test_kubectl_scale_to_three_and_to_zero_and_back(cluster: Cluster, digits: Deployed) -> None:
    jobs = digits.job_names()
    revision = digits.status["current"]["name"]
    resource = f"mdep/{digits.name}"
    kubectl = cluster.control_plane.kubectl

    kubectl("-n", digits.namespace, "scale", resource, "--replicas=3")
    seen = set()

    def three() -> bool:
        seen.add(digits.condition("Ready")["status"])
        return digits.status.get("readyReplicas") == 3 and len(digits.ready_pods()) == 3

    digits.wait("three ready", three)
    assert seen == {"True"}, "Ready must not flap while pods are added"
    assert digits.wait_current()["replicas"] == 3
    scale = json.loads(
        kubectl(
            "get",
            "--raw",
            f"/apis/modelpress.dev/v1alpha1/namespaces/{digits.namespace}/modeldeployments/digits/scale",
        ).stdout
    )
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 3)
    assert scale["status"]["selector"] == digits.status["selector"]
    (budget,) = digits.children("poddisruptionbudgets")
    assert budget["spec"]["maxUnavailable"] == 1

    kubectl("-n", digits.namespace, "scale", resource, "--replicas=0")
    digits.wait("no pods", lambda: not digits.ready_pods() and digits.status.get("replicas") == 0)
    assert digits.wait_current()["readyReplicas"] == 0
    assert digits.condition("Ready")["reason"] == "ScaledToZero"
    assert digits.children("poddisruptionbudgets") == []

    kubectl("-n", digits.namespace, "scale", resource, "--replicas=1")
    digits.wait("ready again", digits.ready_pods)
    digits.wait_current()
    assert digits.job_names() <= jobs
    assert digits.status["current"]["name"] == revision


@pytest.mark.parametrize("plural", ["deployments", "services", "networkpolicies", "controllerrevisions"])
def test_deleting_a_child_restores_it(digits: Deployed, plural: str) -> None:
    jobs, status = digits.job_names(), digits.status
    (child,) = digits.children(plural)
    name, uid = child["metadata"]["name"], child["metadata"]["uid"]
    digits.api.delete(plural, digits.namespace, name, propagationPolicy="Background")

    def restored() -> bool:
        return any(
            found["metadata"]["name"] == name and found["metadata"]["uid"] != uid
            for found in digits.children(plural)
        )

    digits.wait(f"{plural} restored", restored)
    digits.wait("pods ready again", lambda: digits.ready_pods() and digits.kstatus() == "Current")
    assert digits.job_names() <= jobs
    assert digits.status["current"] == status["current"]


EDITS: dict[str, tuple[str, Json]] = {
    "template": ("deployments", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}),
    "replicas": ("deployments", {"spec": {"replicas": 2}}),
    "selector": ("services", {"spec": {"selector": {"another": "label"}}}),
    "port": ("services", {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}}),
    "ingress": ("networkpolicies", {"spec": {"ingress": []}}),
    "labels": ("deployments", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}),
    "owner": ("services", {"metadata": {"ownerReferences": None}}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_editing_a_child_restores_it(digits: Deployed, edit: str) -> None:
    plural, change = EDITS[edit]
    (before,) = digits.children(plural)
    digits.api.patch(plural, digits.namespace, before["metadata"]["name"], change)

    def essence(body: Json) -> list[Any]:
        return [body["spec"], *(body["metadata"].get(key) for key in ("labels", "ownerReferences"))]

    digits.wait(
        "restored", lambda: [essence(after) for after in digits.children(plural)] == [essence(before)]
    )
    digits.wait("pods ready again", lambda: digits.ready_pods() and digits.kstatus() == "Current")


def test_a_finished_job_may_go(cluster: Cluster, digits: Deployed) -> None:
    digits.wait_current()
    (job,) = digits.job_names()
    digits.api.delete("jobs", digits.namespace, job, propagationPolicy="Background")
    wait_until("the Job gone", lambda: not digits.children("jobs"))
    generation = digits.patch({"worker": {"labels": {"team": "vision"}}})
    assert digits.wait_current()["observedGeneration"] == generation
    assert digits.job_names() == set(), "the revision knows its artifact"


def test_ten_resyncs_of_an_idle_operator_write_nothing(cluster: Cluster, digits: Deployed) -> None:
    digits.wait_current()
    audit = cluster.control_plane.audit
    start = now()

    def resyncs() -> bool:
        lists = [r for r in audit(user=cluster.operator.user, since=start) if r.verb == "list"]
        return sum(r.resource == "networkpolicies" for r in lists) >= RESYNCS

    wait_until("ten resyncs", resyncs, 120, every=1)
    assert [r for r in audit(user=cluster.operator.user, since=start) if r.writes] == []
