"""Two operators and their Lease on a real control plane: one acts, the other takes over."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import yaml

from modelpress.controllers.resources import LEASE as LEASES
from modelpress.controllers.resources import permissions
from tests.e2e.cluster.test_control_loop import MANIFESTS, bring_up
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import ARGUMENTS, make_ready
from tests.support.cluster.controlplane import ControlPlane, tally, wait_until
from tests.support.cluster.helpers import Deployed, Operator, now
from tests.support.cluster.relay import Relay

SYSTEM = "modelpress-system"
LEASE = "modelpress-operator"
WITH_LEASE = f"--lease-namespace={SYSTEM}"


class Candidates:
    """Operators of one namespace, each with an account and a network of its own."""

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.digits = Deployed(cluster, namespace, "digits")
        self.relays: dict[Operator, Relay] = {}
        self._folder = folder
        self._stack = ExitStack()

    def start(self, name: str, *arguments: str, lease_role: bool = True) -> Operator:
        """Start one with the rights of the manifests."""
        kubectl = self.cluster.kubectl
        kubectl("-n", self.namespace, "create", "serviceaccount", name)
        account = f"--serviceaccount={self.namespace}:{name}"
        role = "--clusterrole=modelpress-operator"
        kubectl("-n", self.namespace, "create", "rolebinding", name, role, account)
        if lease_role:
            binding = f"{self.namespace}-{name}"
            role = "--role=modelpress-operator-lease"
            kubectl("-n", SYSTEM, "create", "rolebinding", binding, role, account)
            self._stack.callback(kubectl, "-n", SYSTEM, "delete", "rolebinding", binding)
        relay = self._stack.enter_context(Relay(int(self.cluster.server.rpartition(":")[2])))
        config = yaml.safe_load(self.cluster.kubeconfig_for_service_account(self.namespace, name).read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
        folder = self._folder / name
        folder.mkdir()
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        operator = Operator(
            folder / "kubeconfig",
            f"system:serviceaccount:{self.namespace}:{name}",
            [*ARGUMENTS, f"--namespace={self.namespace}", *arguments],
            folder,
        )
        operator.start()
        self._stack.callback(operator.kill)
        self.relays[operator] = relay
        return operator

    def pair(self) -> tuple[Operator, Operator]:
        """Start two with a lease; return the active one and the standby, both ready."""
        first = self.start("first", WITH_LEASE)
        self.wait_role(first, "active")
        second = self.start("second", WITH_LEASE)
        self.wait_role(second, "standby")
        return first, second

    def wait_role(self, operator: Operator, expected: str) -> None:
        """Wait until it is ready and says this of itself."""

        def says() -> bool:
            assert operator.running, (operator.folder / "operator.log").read_text()
            answer = readyz(operator)
            return answer.status_code == 200 and answer.json()["role"] == expected

        wait_until(f"{operator.user} is {expected}", says)

    def lease(self) -> Json:
        """Return the spec of the Lease."""
        spec: Json = self.cluster.admin.get("leases", SYSTEM, LEASE)["spec"]
        return spec

    def scaled(self, replicas: int) -> float:
        """Scale and wait until the Deployment follows; return the seconds that it took."""
        began = time.monotonic()
        self.digits.patch({"replicas": replicas})

        def follows() -> bool:
            (deployment,) = self.digits.children("deployments")
            return bool(deployment["spec"]["replicas"] == replicas)

        self.digits.wait("scaled", follows)
        return time.monotonic() - began

    def close(self) -> None:
        """End all of them."""
        self._stack.close()
        self.cluster.admin.delete("leases", SYSTEM, LEASE)


def readyz(operator: Operator) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{operator.liveness_port}/readyz", trust_env=False)


@pytest.fixture
def candidates(control_plane: ControlPlane, crd: str, namespace: str, tmp_path: Path) -> Iterator[Candidates]:
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(MANIFESTS / "rbac"))
    control_plane.admin.delete("leases", SYSTEM, LEASE)
    found = Candidates(control_plane, namespace, tmp_path)
    yield found
    found.close()


def test_the_standby_goes_on_where_the_active_operator_is_killed(candidates: Candidates) -> None:
    active, standby = candidates.pair()
    digits = candidates.digits
    since = bring_up(digits)
    assert digits.writes_since(since, standby.user) == []
    active.kill()
    print(f"scaling after SIGKILL of the active operator: {candidates.scaled(3):.1f} s")
    assert len(digits.children("jobs")) == 1
    assert candidates.lease()["leaseTransitions"] == 1
    requests = [r for user in (active.user, standby.user) for r in candidates.cluster.audit(user=user)]
    assert {request.agent for request in requests} == {f"modelpress/{version('modelpress')}"}
    used = {(request.resource, request.verb) for request in requests if request.resource[0] != "/"}
    granted = {(resource, verb) for _, resource, verb in permissions()}
    assert used <= granted | {(LEASES.plural, verb) for verb in LEASES.verbs}
    assert {verb for _, verb in used} >= {"get", "list", "watch", "create", "update", "patch"}
    assert [request for request in requests if request.code in (401, 403)] == []


def test_an_operator_that_ends_gives_its_lease_away(candidates: Candidates) -> None:
    active, standby = candidates.pair()
    bring_up(candidates.digits)
    holder = candidates.lease()["holderIdentity"]
    active.signal(signal.SIGTERM)
    print(f"scaling after SIGTERM of the active operator: {candidates.scaled(3):.1f} s")
    wait_until("end", lambda: active.exit_code is not None)
    assert active.exit_code == 0
    candidates.wait_role(standby, "active")
    assert candidates.lease()["holderIdentity"] != holder
    # given back, not run out: no look was needed to see the end of its time
    given = [r for r in candidates.cluster.audit(user=active.user) if r.resource == "leases" and r.writes]
    assert standby.stop() == 0
    assert "holderIdentity" not in candidates.lease()
    assert given[-1].verb == "update"


def test_an_operator_that_was_stopped_past_its_lease_writes_nothing_more(candidates: Candidates) -> None:
    active, standby = candidates.pair()
    bring_up(candidates.digits)
    active.signal(signal.SIGSTOP)
    since = now()
    candidates.scaled(3)
    candidates.wait_role(standby, "active")
    candidates.digits.patch({"replicas": 5, "serving": {"maxBatchSize": 8}})  # what it wakes up to
    active.signal(signal.SIGCONT)
    wait_until("end", lambda: active.exit_code is not None)
    assert active.exit_code == 1
    written = [r for r in candidates.cluster.audit(user=active.user, since=since) if r.writes]
    # the lease of the time before, at most: it was on its way when the process stopped
    assert [r for r in written if r.resource != "leases"] == []
    assert "the lease modelpress-system/modelpress-operator" in (active.folder / "operator.log").read_text()
    candidates.wait_role(standby, "active")


def test_a_short_absence_of_the_api_server_changes_nothing(candidates: Candidates) -> None:
    active, standby = candidates.pair()
    bring_up(candidates.digits)
    before = candidates.lease()
    for relay in candidates.relays.values():
        relay.cut()
    log = active.folder / "operator.log"
    wait_until("a renewal that failed", lambda: f"lease {SYSTEM}/{LEASE}: " in log.read_text())
    for relay in candidates.relays.values():
        relay.restore()
    restored = now()
    wait_until("a renewal", lambda: candidates.lease()["renewTime"] > restored)
    after = candidates.lease()
    assert {**after, "renewTime": ""} == {**before, "renewTime": ""}
    candidates.wait_role(active, "active")
    candidates.wait_role(standby, "standby")


def test_an_active_operator_that_is_cut_off_ends_and_another_acts(candidates: Candidates) -> None:
    active, standby = candidates.pair()
    bring_up(candidates.digits)
    candidates.relays[active].cut()
    print(f"scaling after the active operator was cut off: {candidates.scaled(3):.1f} s")
    candidates.wait_role(standby, "active")
    wait_until("end", lambda: active.exit_code is not None)
    assert active.exit_code == 1


def test_an_operator_without_rights_on_its_lease_is_not_ready_and_says_why(candidates: Candidates) -> None:
    operator = candidates.start("poor", WITH_LEASE, lease_role=False)

    def told() -> bool:
        answer = readyz(operator)
        return answer.status_code == 503 and f"lease {SYSTEM}/{LEASE}: 403" in answer.text

    wait_until("the reason", told)


def test_two_operators_that_both_act_reach_one_state_and_then_write_nothing(candidates: Candidates) -> None:
    operators = [candidates.start(name, "--no-leader-election", WITH_LEASE) for name in ("left", "right")]
    for operator in operators:
        candidates.wait_role(operator, "active")
    digits = candidates.digits
    bring_up(digits)
    edits: list[Json] = [
        {"replicas": 3},
        {"serving": {"maxBatchSize": 8}},
        {"replicas": 2, "service": {"annotations": {"example.com/a": "b"}}},
        {"worker": {"env": [{"name": "A", "value": "1"}]}},
        {"replicas": 4, "worker": None},
        {"worker": {"nodeSelector": {"example.com/exists": "no"}, "labels": {"team": "a"}}},
    ]
    for edit in edits:
        digits.patch(edit)
        digits.wait("seen", lambda: _is_seen(digits.read()))
        for child in ("deployments", "services"):
            (body,) = digits.children(child)
            digits.api.patch(child, digits.namespace, "digits", {"metadata": {"labels": {"app": "theirs"}}})
            assert body["metadata"]["name"] == "digits"
    wait_until("pods of the last revision", lambda: _finished(digits))
    digits.wait_current()
    (deployment,) = digits.children("deployments")
    assert deployment["spec"]["replicas"] == 4
    assert deployment["spec"]["template"]["metadata"]["labels"]["team"] == "a"
    assert deployment["metadata"]["generation"] <= 1 + len(edits)
    since_start = [r for o in operators for r in digits.writes_since("", o.user)]
    print(f"two active operators, {len(edits)} edits: {tally(r for r in since_start if r.code < 300)}")
    created = [r for r in since_start if r.verb == "create" and r.resource == "jobs" and r.code == 201]
    assert len(created) == len(digits.children("jobs")) == 1
    quiet = _settled(digits, operators)
    time.sleep(5)  # some rounds of both resyncs
    assert [r for o in operators for r in digits.writes_since(quiet, o.user)] == []


def _is_seen(body: Json) -> bool:
    return bool(body["status"].get("observedGeneration") == body["metadata"]["generation"])


def _finished(digits: Deployed) -> bool:
    make_ready(digits)
    return digits.kstatus() == "Current"


def _settled(digits: Deployed, operators: list[Operator]) -> str:
    """Return a time after which nothing was written for two seconds."""

    def quiet() -> str | None:
        began = now()
        time.sleep(2)
        return None if any(digits.writes_since(began, o.user) for o in operators) else began

    return wait_until("no writes", quiet)
