"""Compression Jobs on a real control plane: a watch that hangs, slots of several namespaces, repairs."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import SPEC, finish_job, make_ready, running, set_pods
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.fixtures import fresh_namespace
from tests.support.cluster.helpers import Deployed, merge
from tests.support.cluster.node import Node
from tests.support.cluster.proxy import ApiProxy, Fault, Kind
from tests.support.cluster.webhook import mutating

HANGS: Json = {"job": {"nodeSelector": None}, "model": {"secretRef": {"name": "missing"}}}


@pytest.fixture
def other_namespace(control_plane: ControlPlane) -> Iterator[str]:
    """One more fresh namespace."""
    yield from fresh_namespace(control_plane)


def is_compressed(digits: Deployed) -> bool:
    """Return whether the status knows the artifact."""
    return bool(digits.condition("Compressed").get("status") == "True")


def reconciles(digits: Deployed, reason: str) -> bool:
    """Return whether a resource is on its way, or held up, for a reason."""
    return bool(digits.condition("Reconciling").get("reason") == reason)


def kept_results(digits: Deployed) -> list[str]:
    """Return the results that are kept on Jobs."""
    found = [job["metadata"].get("annotations", {}) for job in digits.children("jobs")]
    return [kept[names.RESULT_ANNOTATION] for kept in found if names.RESULT_ANNOTATION in kept]


def on_nodes(digits: Deployed) -> list[Json]:
    """Return the pods that have a node."""
    return [pod for pod in digits.children("pods") if pod["spec"].get("nodeName")]


def test_a_job_that_ends_while_only_the_watch_of_pods_hangs_runs_once(
    control_plane: ControlPlane, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    digits = Deployed(control_plane, namespace, "digits")
    with ApiProxy(control_plane, tmp_path) as proxy:
        way = proxy.kubeconfig(kubeconfig)
        silent = Fault("pods", "watch", Kind.SILENT)
        with running(way, tmp_path / "operator") as operator, proxy.fault(silent):
            since = digits.apply(SPEC)
            finish_job(digits)
            digits.wait("an artifact", lambda: is_compressed(digits))
            wait_until("its result kept", lambda: kept_results(digits))
        with running(way, tmp_path / "operator"):
            make_ready(digits)
            digits.wait_current()
    jobs = [
        (request.verb, request.code)
        for request in digits.writes_since(since, operator.user)
        if request.resource == "jobs" and request.verb in ("create", "delete")
    ]
    assert jobs == [("create", 201)]


def test_jobs_that_hang_in_one_namespace_and_those_of_strangers_hold_up_no_other(
    control_plane: ControlPlane,
    kubeconfig: Path,
    namespace: str,
    other_namespace: str,
    node: Node,
    tmp_path: Path,
) -> None:
    for number in range(4):
        control_plane.admin.create("jobs", other_namespace, _of_a_stranger(f"stranger-{number}", number < 2))
    first, second, third = (Deployed(control_plane, namespace, name) for name in ("first", "second", "third"))
    with running(kubeconfig, tmp_path / "operator", "--max-concurrent-jobs=2"):
        first.apply(merge(SPEC, HANGS))
        wait_until("a pod on a node", lambda: on_nodes(first))
        for each in (second, third):
            each.apply(merge(SPEC, HANGS))
            each.wait("waiting", partial(reconciles, each, "WaitingForJobSlot"))
        healthy = Deployed(control_plane, other_namespace, "healthy")
        healthy.apply(SPEC)
        healthy.wait("a Job", healthy.job_names)
        assert not second.job_names()
        first.patch({"suspend": True})
        first.wait("no Job that has never run", lambda: not first.job_names())
        second.wait("its turn", second.job_names)
        assert not third.job_names()


def test_a_webhook_that_does_not_answer_holds_up_its_own_namespace_only(
    control_plane: ControlPlane,
    kubeconfig: Path,
    namespace: str,
    other_namespace: str,
    tmp_path: Path,
) -> None:
    release = threading.Event()

    def hang(_: Json) -> list[Json]:
        release.wait()
        return []

    slow = [Deployed(control_plane, other_namespace, f"slow-{number}") for number in range(20)]
    healthy = Deployed(control_plane, namespace, "healthy")
    with (
        mutating(
            control_plane, other_namespace, ("networking.k8s.io", "v1", "networkpolicies"), hang
        ) as asked,
        running(kubeconfig, tmp_path / "operator"),
    ):
        try:
            for each in slow:
                each.apply(SPEC)
            wait_until("writes that hang", lambda: len(asked) > 1)
            healthy.apply(SPEC)
            healthy.wait("a Job", healthy.job_names)
            make_done(healthy)
            assert not any(each.job_names() for each in slow)
        finally:
            release.set()
        for each in slow:
            each.wait("its turn", partial(getattr, each, "status"))


def make_done(digits: Deployed) -> None:
    """Go through a compression and a rollout, as pods would."""
    finish_job(digits)
    make_ready(digits)
    digits.wait_current()


def _of_a_stranger(name: str, suspend: bool) -> Json:
    """Return a Job with our label that nobody of ours made."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": "example.com/job:1"}]}
    return {
        "metadata": {"name": name, "labels": {names.NAME_LABEL: "stranger"}},
        "spec": {"suspend": suspend, "template": {"spec": pod}},
    }


def test_a_job_that_cannot_start_is_made_again_with_the_right_image(
    control_plane: ControlPlane, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    digits = Deployed(control_plane, namespace, "digits")
    with running(kubeconfig, tmp_path / "operator"):
        digits.apply(merge(SPEC, {"job": {"image": "example.com/typo:1"}}))
        state = {"waiting": {"reason": "ImagePullBackOff", "message": "example.com/typo:1: not found"}}
        container = {"name": "job", "image": "", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": "Pending", "containerStatuses": [{**container, "state": state}]}
        set_pods(digits, names.JOB, status)
        digits.wait("its cause", lambda: reconciles(digits, "ImagePullFailed"))
        digits.patch({"job": {"image": "example.com/compressor:2"}})
        digits.wait("the right image", lambda: _images(digits) == ["example.com/compressor:2"])
        finish_job(digits)
        digits.wait("an artifact", lambda: is_compressed(digits))


def _images(digits: Deployed) -> list[str]:
    specs = [job["spec"]["template"]["spec"] for job in digits.children("jobs")]
    return [container["image"] for spec in specs for container in spec["containers"]]
