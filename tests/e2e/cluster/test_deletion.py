"""kubectl wait and every way to delete a ModelDeployment, as docs/gitops.md tells; no node takes the pods."""

from functools import partial
from pathlib import Path

import pytest

from modelpress.api import names
from tests.e2e.cluster.test_control_loop import bring_up, digits, operator
from tests.support.cluster.by_hand import SPEC, finish_job, make_ready, running
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.fixtures import fresh_namespace
from tests.support.cluster.helpers import Deployed, Operator, merge, now
from tests.support.cluster.proxy import ApiProxy, Fault, Kind

__all__ = ["digits", "operator"]

OWNED = ("jobs", "controllerrevisions", "deployments", "services", "networkpolicies", "poddisruptionbudgets")
LEFT = ",".join((*OWNED, "pods"))
TWO = {"replicas": 2}  # so that there is a disruption budget, too


def kubectl(digits: Deployed, *arguments: str) -> str:
    """Run kubectl in the namespace; return what it printed."""
    return digits.cluster.kubectl("-n", digits.namespace, *arguments).stdout


def waits(digits: Deployed, condition: str, seconds: int) -> bool:
    """Return whether kubectl wait sees the condition within the time."""
    arguments = ("wait", f"--for=condition={condition}", "mdep/digits", f"--timeout={seconds}s")
    done = digits.cluster.kubectl("-n", digits.namespace, *arguments, check=False)
    assert done.returncode == 0 or "timed out" in done.stderr
    return done.returncode == 0


def uids(digits: Deployed) -> dict[str, set[str]]:
    """Return which children there are."""
    return {
        plural: {child["metadata"]["uid"] for child in digits.children(plural)} for plural in (*OWNED, "pods")
    }


def owners(digits: Deployed) -> set[str]:
    """Return the UIDs of whoever owns the children, "" for nobody."""
    found = set()
    for plural in OWNED:
        for child in digits.children(plural):
            found |= {owner["uid"] for owner in child["metadata"].get("ownerReferences", ())} or {""}
    return found


def nothing_left(digits: Deployed) -> bool:
    """Return whether all children are gone."""
    return not any(uids(digits).values())


def test_kubectl_wait_waits_for_the_newest_spec(digits: Deployed, operator: Operator) -> None:
    digits.apply(SPEC)
    assert not waits(digits, "Ready", 1)
    finish_job(digits)
    make_ready(digits)
    assert waits(digits, "Ready", 60)
    operator.stop()
    try:
        digits.patch({"worker": {"affinity": {"nodeAffinty": {"typo": True}}}})
        assert not waits(digits, "Ready", 1), "nobody has seen the edit"
    finally:
        operator.start()
    assert waits(digits, "Stalled", 60)
    assert not waits(digits, "Ready", 1)


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_a_deletion_takes_all_children(digits: Deployed, cascade: str) -> None:
    bring_up(digits)
    kubectl(digits, "delete", "mdep", "digits", f"--cascade={cascade}", "--wait", "--timeout=60s")
    kubectl(digits, "wait", "--for=delete", LEFT, "-l", f"{names.NAME_LABEL}=digits", "--timeout=60s")
    assert nothing_left(digits)


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_a_deletion_while_the_operator_is_away_takes_all_children(
    digits: Deployed, operator: Operator, cascade: str
) -> None:
    bring_up(digits)
    operator.stop()
    try:
        kubectl(digits, "delete", "mdep", "digits", f"--cascade={cascade}", "--wait=false")
        kubectl(digits, "wait", "--for=delete", "mdep/digits", "--timeout=60s")
        wait_until("nothing left", partial(nothing_left, digits))
    finally:
        operator.start()


@pytest.mark.parametrize("stopped", [False, True], ids=["operator-there", "operator-away"])
def test_what_an_orphan_deletion_leaves_is_adopted_without_a_restart(
    digits: Deployed, operator: Operator, stopped: bool
) -> None:
    digits.apply(merge(SPEC, TWO))
    finish_job(digits)
    wait_until("two pods", lambda: len(digits.children("replicasets")) and len(_workers(digits)) == 2)
    make_ready(digits)
    digits.wait_current()
    before = uids(digits)
    assert all(before.values())
    if stopped:
        operator.stop()
    try:
        kubectl(digits, "delete", "mdep", "digits", "--cascade=orphan", "--wait", "--timeout=60s")
        assert owners(digits) == {""}
        assert uids(digits) == before
    finally:
        if stopped:
            operator.start()
    digits.apply(merge(SPEC, TWO))
    digits.wait_current()
    digits.wait("all adopted", lambda: owners(digits) == {digits.read()["metadata"]["uid"]})
    assert uids(digits) == before
    assert len(digits.children("replicasets")) == 1


def _workers(digits: Deployed) -> list[object]:
    return [*digits.api.list("pods", digits.namespace, f"{names.ROLE_LABEL}={names.WORKER}")]


def test_an_orphan_deletion_that_the_operator_learns_of_late_leaves_all(
    control_plane: ControlPlane, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    digits = Deployed(control_plane, namespace, "digits")
    silent = Fault("modeldeployments", "watch", Kind.SILENT)
    with (
        ApiProxy(control_plane, tmp_path) as proxy,
        # no resync helps: what it would find, the next look at a child finds before
        running(proxy.kubeconfig(kubeconfig), tmp_path / "operator", "--resync-interval=60") as late,
    ):
        bring_up(digits)
        before = uids(digits)
        since = now()
        with proxy.fault(silent):
            kubectl(digits, "delete", "mdep", "digits", "--cascade=orphan", "--wait", "--timeout=60s")
            wait_until("three looks at what is gone", lambda: _looks(digits, late, since) >= 3)
        writes = {each.resource for each in digits.writes_since(since, late.user)}
        assert writes <= {"events"}, "what was done before may still be told"
        assert uids(digits) == before


def _looks(digits: Deployed, operator: Operator, since: str) -> int:
    """Return how often the operator has read the resource itself."""
    found = digits.cluster.audit(user=operator.user, since=since)
    return sum(
        (each.verb, each.resource, each.namespace) == ("list", "modeldeployments", digits.namespace)
        for each in found
    )


def test_what_an_orphan_deletion_leaves_rolls_out_to_another_spec(digits: Deployed) -> None:
    bring_up(digits)
    (before,) = digits.children("deployments")
    kubectl(digits, "delete", "mdep", "digits", "--cascade=orphan", "--wait", "--timeout=60s")
    digits.apply(merge(SPEC, {"worker": {"env": [{"name": "GREETING", "value": "hello"}]}}))

    def is_current() -> bool:
        make_ready(digits)
        return digits.kstatus() == "Current"

    digits.wait("the other spec", is_current)
    (after,) = digits.children("deployments")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["template"] != before["spec"]["template"]
    assert len(digits.children("jobs")) == 1, "the artifact is known"
    digits.wait("all adopted", lambda: owners(digits) == {digits.read()["metadata"]["uid"]})


def test_what_an_orphan_deletion_leaves_can_be_removed_by_its_label(digits: Deployed) -> None:
    bring_up(digits)
    kubectl(digits, "delete", "mdep", "digits", "--cascade=orphan", "--wait", "--timeout=60s")
    kubectl(digits, "delete", ",".join(OWNED), "-l", f"{names.NAME_LABEL}=digits", "--timeout=60s")
    wait_until("nothing left", partial(nothing_left, digits))


@pytest.mark.parametrize("stopped", [False, True], ids=["operator-there", "operator-away"])
def test_a_namespace_goes_with_all_that_is_in_it(
    control_plane: ControlPlane, operator: Operator, stopped: bool
) -> None:
    for namespace in fresh_namespace(control_plane):
        bring_up(Deployed(control_plane, namespace, "digits"))
        if stopped:
            operator.stop()
        try:
            control_plane.kubectl("delete", "namespace", namespace, "--wait", "--timeout=90s")
        finally:
            if stopped:
                operator.start()
