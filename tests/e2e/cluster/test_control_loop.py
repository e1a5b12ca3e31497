"""The operator's process on a real control plane without a node: the tests move the pods by hand.

So each step of the loop is seen alone, without TensorFlow; test_apply has the real pods.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelpress.api import names
from tests.support.cluster.by_hand import ARGUMENTS, SPEC, finish_job, make_ready
from tests.support.cluster.controlplane import ControlPlane, tally, wait_until
from tests.support.cluster.environment import new_operator
from tests.support.cluster.helpers import Deployed, Operator
from tests.support.cluster.node import Node

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, crd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator of all namespaces."""
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(MANIFESTS / "rbac"))
    running = new_operator(control_plane, ARGUMENTS, tmp_path_factory.mktemp("loop") / "operator")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def digits(control_plane: ControlPlane, operator: Operator, namespace: str) -> Deployed:
    """A name for a resource; nothing is applied yet."""
    return Deployed(control_plane, namespace, "digits")


def bring_up(digits: Deployed) -> str:
    """Apply and walk to Ready; return the time just before."""
    since = digits.apply(SPEC)
    finish_job(digits)
    make_ready(digits)
    digits.wait_current()
    return since


def test_the_loop_from_apply_to_ready_takes_few_requests(digits: Deployed, operator: Operator) -> None:
    since = bring_up(digits)
    requests = [
        request
        for request in digits.cluster.audit(user=operator.user, since=since)
        if request.namespace == digits.namespace
    ]
    writes = [request for request in requests if request.writes]
    print(f"apply to Ready: {len(requests)} requests, {tally(requests)}")
    made = [request.resource for request in writes if request.verb in ("create", "patch")]
    assert sorted(kind for kind in made if kind != "events") == [
        "controllerrevisions",  # in a dry run
        "controllerrevisions",
        "deployments",  # in a dry run
        "deployments",
        "jobs",
        "jobs",  # its result is kept
        "networkpolicies",
        "services",
    ]
    assert len(requests) <= 25


def test_refused_pod_settings_are_stalled_while_the_old_pods_stay(digits: Deployed) -> None:
    bring_up(digits)
    (before,) = digits.children("deployments")
    digits.patch({"worker": {"affinity": {"nodeAffinty": {"typo": True}}}})
    condition = digits.wait_stalled("InvalidPodSettings")
    assert "nodeAffinty" in condition["message"]
    assert digits.condition("Available")["status"] == "True"
    assert digits.condition("Ready")["status"] == "False"
    (after,) = digits.children("deployments")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    digits.patch({"worker": {"affinity": None}})
    digits.wait_current()


def test_refused_pod_settings_of_the_job_are_stalled(digits: Deployed) -> None:
    digits.apply({**SPEC, "job": {"tolerations": [{"operator": "Sometimes"}]}})
    assert "tolerations" in digits.wait_stalled("InvalidPodSettings")["message"]
    assert not digits.children("jobs")
    digits.patch({"job": {"tolerations": None}})
    digits.wait("a Job", lambda: digits.children("jobs"))


def test_somebody_elses_service_is_a_name_conflict_until_it_goes(digits: Deployed) -> None:
    foreign = {"metadata": {"name": "digits"}, "spec": {"ports": [{"port": 5432}]}}
    digits.api.create("services", digits.namespace, foreign)
    digits.apply(SPEC)
    finish_job(digits)
    assert "Service digits" in digits.wait_stalled("NameConflict")["message"]
    assert digits.api.get("services", digits.namespace, "digits")["spec"]["ports"][0]["port"] == 5432
    digits.api.delete("services", digits.namespace, "digits")
    digits.annotate(names.RETRY_ANNOTATION, "now")  # or a minute's patience
    digits.wait("another look", lambda: digits.condition("Stalled")["status"] == "False")
    make_ready(digits)
    digits.wait_current()


def test_a_quota_that_refuses_the_jobs_pods_is_named(digits: Deployed) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    where = f"/api/v1/namespaces/{digits.namespace}/resourcequotas"
    digits.api.request("POST", where, quota)
    wait_until("quota in force", lambda: digits.api.request("GET", f"{where}/none")["status"].get("hard"))
    digits.apply(SPEC)

    def named() -> bool:
        condition = digits.condition("Reconciling")
        return condition.get("reason") == "QuotaExceeded" and "exceeded quota" in condition["message"]

    digits.wait("the reason", named, 60)


def test_a_claim_that_does_not_exist_is_named_in_the_schedulers_words(digits: Deployed, node: Node) -> None:
    digits.apply({**SPEC, "model": {"uri": "pvc://nowhere/digits.keras"}})

    def named() -> bool:
        condition = digits.condition("Reconciling")
        return (
            condition.get("reason") == "PodsUnschedulable"
            and 'persistentvolumeclaim "nowhere" not found' in condition["message"]
        )

    digits.wait("the reason", named, 60)


def test_the_liveness_endpoint_counts_the_requests(operator: Operator) -> None:
    url = f"http://127.0.0.1:{operator.liveness_port}/healthz"
    answer = wait_until("alive", lambda: httpx.get(url, trust_env=False).raise_for_status().json())
    assert answer["requests"]["list modeldeployments"] >= 1


def test_an_operator_of_one_namespace_needs_no_rights_beyond_it(
    control_plane: ControlPlane, operator: Operator, namespace: str, tmp_path: Path
) -> None:
    kubectl = control_plane.kubectl
    kubectl("-n", namespace, "create", "serviceaccount", "local-operator")
    kubectl(
        *("-n", namespace, "create", "rolebinding", "local-operator", "--clusterrole=modelpress-operator"),
        f"--serviceaccount={namespace}:local-operator",
    )
    kubeconfig = control_plane.kubeconfig_for_service_account(namespace, "local-operator")
    (tmp_path / "operator").mkdir()
    user = f"system:serviceaccount:{namespace}:local-operator"
    arguments = [*ARGUMENTS, f"--namespace={namespace}"]
    running = Operator(kubeconfig, user, arguments, tmp_path / "operator")
    assert operator.stop() == 0
    running.start()
    try:
        digits = Deployed(control_plane, namespace, "digits")
        bring_up(digits)
        assert [r for r in control_plane.audit(user=user) if r.code in (401, 403)] == []
        assert running.stop() == 0
    finally:
        running.stop()
        operator.start()


def test_a_missing_login_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelpress", "operator", *ARGUMENTS],
        env={"PATH": "", "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 64
    assert "Traceback" not in done.stderr
    assert "kubeconfig" in done.stderr
