"""Scaling and edits of a model that is served by real pods: nobody who asks it loses a request."""

from collections.abc import Callable

import pytest

from tests.e2e.node.conftest import Installed
from tests.support.cluster.helpers import Deployed

MODES = ("new", "keep", "grpc")


def test_scale_up_to_zero_and_back(installed: Installed, digits: Deployed) -> None:
    for replicas in (1, 3, 0, 2):
        installed.kubectl("-n", digits.namespace, "scale", "mdep/digits", f"--replicas={replicas}")
        wait_for_pods(digits, replicas)
        digits.wait(f"{replicas} in the status", _has(digits, replicas))
        digits.wait_current()
        ready = digits.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("True", "Available" if replicas else "ScaledToZero")
    assert len(digits.job_names()) == 1, "scaling compresses nothing again"


@pytest.mark.parametrize("replicas", [2, 1])
def test_an_update_under_load_loses_no_request(installed: Installed, digits: Deployed, replicas: int) -> None:
    digits.patch({"replicas": replicas})
    before = digits.wait_current()["current"]["name"]
    wait_for_pods(digits, replicas)
    with installed.load(digits.namespace, "digits", *MODES) as load:
        digits.patch({"worker": {"annotations": {"example.com/edited": f"with-{replicas}"}}})
        status = digits.wait_current()
        digits.wait("the old pods gone", lambda: _pods(digits) == replicas)
    assert status["current"]["name"] != before
    installed.facts.append(f"update with {replicas} replicas: sent {load.sent}, lost {counts(load.lost)}")
    assert load.lost == {mode: [] for mode in MODES}
    assert min(load.sent.values()) > 20, load.sent


def wait_for_pods(digits: Deployed, count: int) -> None:
    """Return when as many workers are ready."""
    digits.wait(f"{count} ready pods", lambda: len(digits.ready_pods()) == count)


def _has(digits: Deployed, count: int) -> Callable[[], bool]:
    def check() -> bool:
        status = digits.status
        return (status["replicas"], status.get("readyReplicas", 0)) == (count, count)

    return check


def _pods(digits: Deployed) -> int:
    pods = digits.children("pods")
    return sum(1 for pod in pods if pod["status"]["phase"] == "Running")


def counts(lost: dict[str, list[str]]) -> dict[str, int]:
    """Return how many requests of each mode were lost."""
    return {mode: len(failures) for mode, failures in lost.items()}
