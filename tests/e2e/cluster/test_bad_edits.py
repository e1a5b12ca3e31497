"""A bad edit hurts only itself: what serves goes on and scales, on a real API server without a node."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from modelpress.api import names
from tests.e2e.cluster.test_control_loop import bring_up, operator
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import make_ready
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.helpers import Deployed, Operator, now

ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/modelpress-operator"
TYPO = {"affinity": {"nodeAffinty": {"typo": True}}}
BAD_TOLERATION = {"tolerations": [{"operator": "Sometimes"}]}


__all__ = ["operator"]


@pytest.fixture
def digits(control_plane: ControlPlane, operator: Operator, namespace: str) -> Deployed:
    """A resource that serves."""
    deployed = Deployed(control_plane, namespace, "digits")
    bring_up(deployed)
    return deployed


def scale(digits: Deployed, replicas: int) -> None:
    """kubectl scale, and wait for the Deployment."""
    kubectl = digits.cluster.kubectl
    kubectl("-n", digits.namespace, "scale", "mdep/digits", f"--replicas={replicas}")
    digits.wait("the pods", lambda: deployment(digits)["spec"]["replicas"] == replicas, 20)


def wait_ready(digits: Deployed, count: int) -> None:
    """Report pods as ready until so many are."""

    def are_ready() -> bool:
        make_ready(digits)
        return bool(digits.status.get("readyReplicas") == count)

    digits.wait("ready pods", are_ready)


def is_named(digits: Deployed, word: str) -> bool:
    """Return whether the refusal names a word."""
    return word in digits.condition("Stalled")["message"]


def deployment(digits: Deployed) -> Json:
    """Return its Deployment."""
    (found,) = digits.children("deployments")
    return found


def revisions(digits: Deployed) -> set[str]:
    """Return the names of its revisions."""
    return {body["metadata"]["name"] for body in digits.children("controllerrevisions")}


def events(digits: Deployed, reason: str) -> list[Json]:
    """Return the events of a reason about it."""
    found = digits.api.list("events", digits.namespace, "")
    return [
        event
        for event in found
        if event["reason"] == reason and event["involvedObject"]["kind"] == names.KIND
    ]


def set_quota(digits: Deployed, name: str, hard: Json) -> Callable[[], Any]:
    """Make a quota and wait until it is in force; return what deletes it."""
    where = f"/api/v1/namespaces/{digits.namespace}/resourcequotas"
    digits.api.request("POST", where, {"metadata": {"name": name}, "spec": {"hard": hard}})
    wait_until("quota in force", lambda: digits.api.request("GET", f"{where}/{name}")["status"].get("hard"))
    return lambda: digits.api.request("DELETE", f"{where}/{name}")


@pytest.mark.parametrize(("settings", "words"), [(TYPO, "nodeAffinty"), (BAD_TOLERATION, "Sometimes")])
def test_a_refused_template_is_a_failed_revision_and_the_current_one_scales(
    digits: Deployed, settings: Json, words: str
) -> None:
    before, known, current = deployment(digits), revisions(digits), digits.status["current"]
    digits.patch({"worker": settings})
    assert words in digits.wait_stalled("InvalidPodSettings")["message"]
    failed = digits.status["failed"]
    assert failed["reason"] == "InvalidPodSettings"
    assert failed["revisionHash"]
    scale(digits, 3)
    wait_ready(digits, 3)
    assert digits.condition("Available")["status"] == "True"
    assert digits.wait_stalled("InvalidPodSettings")
    after = deployment(digits)
    assert after["spec"]["template"] == before["spec"]["template"]
    assert digits.status["current"] == current
    assert revisions(digits) == known
    digits.patch({"worker": {next(iter(settings)): None}})
    digits.wait_current()


def test_what_is_refused_is_asked_for_once_and_told_once_however_often_pods_change(
    digits: Deployed, operator: Operator
) -> None:
    digits.patch({"worker": TYPO})
    digits.wait_stalled("InvalidPodSettings")
    since = now()
    for count in range(1, 6):
        make_ready(digits)
        scale(digits, 1 + count % 2)
    digits.wait_stalled("InvalidPodSettings")
    made = [request for request in digits.writes_since(since, operator.user) if request.code < 500]
    refused = [request for request in made if request.code >= 400]
    assert refused == []
    assert len([request for request in made if request.resource == "deployments"]) <= 5  # one for each scale
    assert len(events(digits, "InvalidPodSettings")) == 1
    digits.patch({"worker": {**dict.fromkeys(TYPO), **BAD_TOLERATION}})
    digits.wait("another event", lambda: len(events(digits, "InvalidPodSettings")) == 2)


def test_five_refused_edits_leave_no_revision_behind(digits: Deployed) -> None:
    known = revisions(digits)
    for number in range(5):
        digits.patch({"worker": {"affinity": {f"typo{number}": {}, f"typo{number - 1}": None}}})
        digits.wait("the refusal", partial(is_named, digits, f"typo{number}"))
    assert revisions(digits) == known


def test_somebody_elses_service_stops_no_scaling(digits: Deployed) -> None:
    digits.cluster.kubectl("-n", digits.namespace, "label", "service", "digits", f"{names.NAME_LABEL}-")
    digits.api.delete("services", digits.namespace, "digits")
    foreign = {"metadata": {"name": "digits"}, "spec": {"ports": [{"port": 5432}]}}
    wait_until("the name", lambda: _try_create(digits, foreign), every=0.01)
    digits.wait_stalled("NameConflict")
    scale(digits, 3)
    assert digits.api.get("services", digits.namespace, "digits")["spec"]["ports"][0]["port"] == 5432


def _try_create(digits: Deployed, service: Json) -> bool:
    """Take the name of the Service before the operator does."""
    found = digits.api.find("services", digits.namespace, "digits")
    if found is not None and found["spec"]["ports"][0]["port"] == 5432:
        return True
    if found is not None:
        digits.api.delete("services", digits.namespace, "digits")
    digits.api.create("services", digits.namespace, service)
    return True


def test_a_quota_of_revisions_stops_no_scaling_and_is_asked_again_when_a_person_says_so(
    digits: Deployed,
) -> None:
    before, known = deployment(digits), revisions(digits)
    lift = set_quota(digits, "few", {"count/controllerrevisions.apps": "1"})
    digits.patch({"serving": {"maxBatchSize": 8}})
    digits.wait("the reason", lambda: digits.condition("Reconciling")["reason"] == "QuotaExceeded")
    assert "exceeded quota" in digits.condition("Reconciling")["message"]
    assert digits.condition("Stalled")["status"] == "False", "nobody need touch the resource"
    assert "failed" not in digits.status, "the revision is not at fault"
    scale(digits, 3)
    assert deployment(digits)["spec"]["template"] == before["spec"]["template"]
    assert revisions(digits) == known
    lift()
    digits.annotate(names.RETRY_ANNOTATION, "now")
    digits.wait("the new revision", lambda: revisions(digits) > known)


def test_a_missing_right_is_told_in_the_servers_words_and_heals(digits: Deployed, operator: Operator) -> None:
    role = digits.api.request("GET", ROLE)
    fewer = [rule for rule in role["rules"] if rule["resources"] != ["services"]]
    reading = {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]}
    body = {"rules": [*fewer, reading]}
    digits.api.request("PATCH", ROLE, body, content_type="application/merge-patch+json")
    try:
        digits.cluster.kubectl("-n", digits.namespace, "delete", "service", "digits")

        def is_told() -> bool:
            condition = digits.condition("Reconciling")
            said = (condition["status"], condition["reason"]) == ("True", "ApiError")
            return said and "cannot" in condition["message"] and "services" in condition["message"]

        digits.wait("the reason", is_told, 30)
        assert digits.kstatus() == "InProgress"
        assert digits.condition("Stalled")["status"] == "False"
        scale(digits, 3)
        assert len(events(digits, "ApiError")) == 1
    finally:
        whole = {"rules": role["rules"]}
        digits.api.request("PATCH", ROLE, whole, content_type="application/merge-patch+json")
    digits.wait("the Service", lambda: digits.api.find("services", digits.namespace, "digits"), 90)
    wait_ready(digits, 3)
    digits.wait_current()
