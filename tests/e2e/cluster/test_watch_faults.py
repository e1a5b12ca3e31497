"""Watches that break on a real control plane while something changes behind them: all is made good."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster.test_control_loop import bring_up
from tests.support.cluster.by_hand import make_ready, running
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.helpers import Deployed, Operator, is_answered
from tests.support.cluster.proxy import ApiProxy, Fault, Kind

FAULTS: dict[str, Callable[[str], Fault]] = {
    "an event of 410": lambda plural: Fault(plural, "watch", Kind.TELL, code=410),
    "an event of 429": lambda plural: Fault(plural, "watch", Kind.TELL, code=429),
    "an event of 500": lambda plural: Fault(plural, "watch", Kind.TELL, code=500),
    "no JSON": lambda plural: Fault(plural, "watch", Kind.GARBLE),
    "refused by 429": lambda plural: Fault(plural, "watch", Kind.REFUSE, code=429),
    "refused by 500": lambda plural: Fault(plural, "watch", Kind.REFUSE, code=500),
    "a reset": lambda plural: Fault(plural, "watch", Kind.CUT),
    "silence": lambda plural: Fault(plural, "watch", Kind.SILENT),
    "lost events": lambda plural: Fault(plural, "watch", Kind.DROP),
}


@pytest.fixture(scope="module")
def proxy(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane, tmp_path_factory.mktemp("proxy")) as running_proxy:
        yield running_proxy


@pytest.fixture(scope="module")
def operator(
    proxy: ApiProxy, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator behind the proxy, with a resync each second."""
    with running(proxy.kubeconfig(kubeconfig), tmp_path_factory.mktemp("watch-faults")) as started:
        yield started


@pytest.fixture
def digits(control_plane: ControlPlane, operator: Operator, namespace: str) -> Deployed:
    """A resource that serves."""
    made = Deployed(control_plane, namespace, "digits")
    bring_up(made)
    return made


def scale(digits: Deployed) -> Callable[[], bool]:
    digits.patch({"replicas": 3})
    return lambda: digits.children("deployments")[0]["spec"]["replicas"] == 3


def delete(plural: str) -> Callable[[Deployed], Callable[[], bool]]:
    """Delete the child of a kind; it must be made again."""

    def change(digits: Deployed) -> Callable[[], bool]:
        (child,) = digits.children(plural)
        digits.api.delete(plural, digits.namespace, child["metadata"]["name"])
        gone = child["metadata"]["uid"]
        return lambda: [each["metadata"]["uid"] for each in digits.children(plural)] not in ([], [gone])

    return change


def lose_pod(digits: Deployed) -> Callable[[], bool]:
    """Delete the only ready pod; nobody makes its successor ready."""
    (pod,) = digits.ready_pods()
    digits.api.delete("pods", digits.namespace, pod["metadata"]["name"], gracePeriodSeconds=0)
    return lambda: digits.status.get("readyReplicas", 0) == 0


CHANGES: dict[str, Callable[[Deployed], Callable[[], bool]]] = {
    "modeldeployments": scale,
    "deployments": delete("deployments"),
    "services": delete("services"),
    "networkpolicies": delete("networkpolicies"),
    "controllerrevisions": delete("controllerrevisions"),
    "pods": lose_pod,
}
# Each fault and each kind, but not all pairs: the rule is the same for all owned kinds.
PAIRS = [
    *(("modeldeployments", fault) for fault in FAULTS),
    *zip([*CHANGES][1:] * 2, FAULTS, strict=False),
]


@pytest.mark.parametrize(("plural", "fault"), PAIRS)
def test_what_changes_behind_a_broken_watch_is_made_good(
    digits: Deployed, proxy: ApiProxy, operator: Operator, plural: str, fault: str
) -> None:
    with proxy.fault(FAULTS[fault](plural)):
        proxy.reset_watches(plural)
        restored = CHANGES[plural](digits)
        wait_until("made good", restored)
    make_ready(digits)
    wait_until("current again", lambda: digits.kstatus() == "Current")
    assert operator.running
    wait_until("ready", lambda: is_answered(operator, "readyz"))
    assert digits.condition("Ready")["status"] == "True"
