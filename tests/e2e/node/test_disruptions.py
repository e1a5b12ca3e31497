"""Nodes that are emptied, pods that are killed, kubelets and operators that restart: the model goes on."""

import threading
import time

import pytest

from tests.e2e.node.conftest import JOB_SECONDS, SYSTEM, USERS, Installed
from tests.e2e.node.test_rollouts import MODES, counts, wait_for_pods
from tests.support.cluster.controlplane import wait_until
from tests.support.cluster.helpers import Deployed

# What a caller sees of a process that was cut off: a connection that broke, or that nobody took yet.
BROKEN = ("ClientConnectorError", "ServerDisconnectedError", "ClientOSError", "UNAVAILABLE")
SETTLED_SECONDS = 3


def test_workers_are_spread_and_a_node_is_drained_without_a_lost_request(
    installed: Installed, digits: Deployed
) -> None:
    digits.patch({"replicas": 2})
    digits.wait_current()
    wait_for_pods(digits, 2)
    nodes = {pod["spec"]["nodeName"] for pod in digits.ready_pods()}
    other = installed.cluster.nodes[1].name
    assert nodes == {node.name for node in installed.cluster.nodes}
    with installed.load(digits.namespace, "digits", *MODES) as load:
        installed.kubectl("drain", other, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=100s")
        wait_for_pods(digits, 2)
    installed.kubectl("uncordon", other)
    installed.facts.append(f"node drained: sent {load.sent}, lost {counts(load.lost)}")
    assert load.lost == {mode: [] for mode in MODES}


def test_a_deleted_pod_under_load_costs_no_request(installed: Installed, digits: Deployed) -> None:
    digits.patch({"replicas": 2})
    wait_for_pods(digits, 2)
    doomed = digits.ready_pods()[0]["metadata"]["name"]
    with installed.load(digits.namespace, "digits", *MODES) as load:
        installed.kubectl("-n", digits.namespace, "delete", "pod", doomed)
        wait_for_pods(digits, 2)
    installed.facts.append(f"pod deleted: sent {load.sent}, lost {counts(load.lost)}")
    assert load.lost == {mode: [] for mode in MODES}


def test_a_killed_worker_process_starts_again(installed: Installed, digits: Deployed) -> None:
    digits.patch({"replicas": 2})
    wait_for_pods(digits, 2)
    (pod, *_others) = digits.ready_pods()
    name = pod["metadata"]["name"]
    (node,) = (node for node in installed.cluster.nodes if node.name == pod["spec"]["nodeName"])
    with installed.load(digits.namespace, "digits", *MODES) as load:
        node.kill_container(pod["status"]["containerStatuses"][0]["containerID"])
        digits.wait("started again", lambda: _restarts(digits, name) == 1)
        wait_for_pods(digits, 2)
    installed.facts.append(f"worker process killed: sent {load.sent}, lost {counts(load.lost)}")
    lost = [failure for failures in load.lost.values() for failure in failures]
    assert all(any(word in failure for word in BROKEN) for failure in lost), lost
    with installed.load(digits.namespace, "digits", *MODES) as later:
        time.sleep(SETTLED_SECONDS)
    assert later.lost == {mode: [] for mode in MODES}


def test_a_kubelet_restart_leaves_a_worker_ready_and_costs_no_request(
    installed: Installed, digits: Deployed
) -> None:
    """Kubernetes 1.34 calls a container with a readiness probe unready until a new kubelet has probed it."""
    digits.patch({"replicas": 2})
    digits.wait_current()
    wait_for_pods(digits, 2)
    before = {pod["metadata"]["uid"] for pod in digits.ready_pods()}
    with installed.load(digits.namespace, "digits", *MODES) as load, ReadyCounts(digits) as ready:
        for node in installed.cluster.nodes:  # one after the other, as an update of nodes does it
            node.restart_kubelet()
            _let_kubelet_probe()
    assert {pod["metadata"]["uid"] for pod in digits.ready_pods()} == before
    installed.facts.append(
        f"kubelets restarted: sent {load.sent}, lost {counts(load.lost)}; "
        f"{ready.seen.count(1)} of {len(ready.seen)} looks saw one worker unready"
    )
    assert min(ready.seen) >= 1
    assert load.lost == {mode: [] for mode in MODES}


@pytest.mark.parametrize("phase", ["job", "rollout"])
def test_kubelet_and_operator_restart_in_the_middle(installed: Installed, team: str, phase: str) -> None:
    deployed = installed.deployed(f"restart-{phase}", team)
    # a version of its own: the finished artifact of another resource is not taken
    deployed.apply(installed.spec({"model": {"version": phase}, "optimization": _clip(phase)}))
    if phase == "job":
        deployed.wait("the Job's pod runs", lambda: _job_pod_runs(deployed))
    else:
        deployed.wait("a worker pod", lambda: _workers(deployed), JOB_SECONDS)
    _restart_operator(installed)
    for node in installed.cluster.nodes:
        node.restart_kubelet()
    deployed.wait_current(JOB_SECONDS)
    assert len(deployed.job_names()) == 1, "what had run is not run again"
    installed.kubectl("-n", team, "delete", "mdep", deployed.name)


def test_an_operator_restart_changes_nothing_that_is_settled(installed: Installed, digits: Deployed) -> None:
    digits.patch({"replicas": 2})
    digits.wait_current()
    wait_for_pods(digits, 2)
    before = {pod["metadata"]["uid"] for pod in digits.ready_pods()}
    version = digits.read()["metadata"]["resourceVersion"]
    _restart_operator(installed)
    installed.kubectl("-n", digits.namespace, "scale", "mdep/digits", "--replicas=3")
    wait_for_pods(digits, 3)
    assert before < {pod["metadata"]["uid"] for pod in digits.ready_pods()}
    assert digits.read()["metadata"]["resourceVersion"] != version
    digits.patch({"replicas": 2})
    digits.wait_current()


def test_the_network_policies_hold(installed: Installed, digits: Deployed) -> None:
    registry = f"http://modelpress-registry.{SYSTEM}.svc.cluster.local:5000/"
    foreign = "import urllib.request, sys; urllib.request.urlopen(sys.argv[1], timeout=3)"
    refused = installed.cluster.execute(
        USERS, "client", "sh", "-c", f'python3 -c "{foreign}" {registry} 2>&1; echo code $?', check=False
    )
    assert "code 1" in refused, "a foreign pod reaches the registry"
    assert "timed out" in refused or "refused" in refused, refused
    worker = digits.ready_pods()[0]["metadata"]["name"]
    container = ["-c", "worker"]
    reached = installed.kubectl(
        "-n", digits.namespace, "exec", worker, *container, "--", "python3", "-c", foreign, registry
    )
    assert reached == ""
    for address in _addresses(digits):
        page = f"http://{address}:8080/v2/health/ready"
        assert installed.cluster.execute(USERS, "client", "python3", "-c", foreign, page) == ""


class ReadyCounts:
    """Looks again and again how many workers are ready; `seen` has the counts."""

    def __init__(self, digits: Deployed) -> None:
        self._digits = digits
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: list[int] = []

    def __enter__(self) -> "ReadyCounts":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            self.seen.append(len(self._digits.ready_pods()))


def _addresses(digits: Deployed) -> list[str]:
    return [pod["status"]["podIP"] for pod in digits.ready_pods()]


def _clip(phase: str) -> dict[str, object]:
    bound = {"job": "40", "rollout": "41"}[phase]
    return {"weightClipping": {"min": f"-{bound}", "max": bound}}


def _restart_operator(installed: Installed) -> None:
    """Delete the active operator's pod almost without grace; returns when another is active."""
    before = _active_operator(installed)
    installed.kubectl("-n", SYSTEM, "delete", "pod", before, "--grace-period=1", "--wait=false")
    wait_until("another active operator", lambda: _active_operator(installed) not in ("", before))


def _active_operator(installed: Installed) -> str:
    """Return the pod that holds the Lease; empty: none does."""
    lease = installed.cluster.control_plane.admin.get("leases", SYSTEM, "modelpress-operator")
    pod: str = lease["spec"].get("holderIdentity", "").partition("_")[0]
    return pod


def _let_kubelet_probe() -> None:
    time.sleep(8)  # probes of readiness have fallen due by then: there is no event to wait for


def _job_pod_runs(deployed: Deployed) -> bool:
    return any(
        pod["status"]["phase"] == "Running" and "job-name" in pod["metadata"]["labels"]
        for pod in deployed.children("pods")
    )


def _workers(deployed: Deployed) -> bool:
    return any("job-name" not in pod["metadata"]["labels"] for pod in deployed.children("pods"))


def _restarts(deployed: Deployed, name: str) -> int:
    (pod,) = (pod for pod in deployed.children("pods") if pod["metadata"]["name"] == name)
    count: int = pod["status"]["containerStatuses"][0]["restartCount"]
    return count
