"""Real mutating webhooks that change what the operator applies: it comes to rest, and to Ready.

The pods are moved by hand, as a kubelet would. A look at a resource is caused by an edit of another child,
which is reverted; so no test waits for nothing to happen.
"""

from collections.abc import Callable
from typing import Any

import pytest

from modelpress.api import names
from tests.e2e.cluster.test_control_loop import bring_up, operator
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import SPEC, finish_job, make_ready
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.helpers import Deployed, Operator, now
from tests.support.cluster.webhook import mutating

__all__ = ["operator"]

DEPLOYMENTS = ("apps", "v1", "deployments")
POD = "/spec/template/spec"
SIDECAR = {"name": "proxy", "image": "example.com/proxy:1"}


def add(where: str, value: Any) -> Json:
    return {"op": "add", "path": where, "value": value}


def variable(body: Json) -> list[Json]:
    env = body["spec"]["template"]["spec"]["containers"][0].get("env", [])
    known = any(entry["name"] == "TRACE" for entry in env)
    return [] if known else [add(f"{POD}/containers/0/env/-", {"name": "TRACE", "value": "1"})]


def sidecar(body: Json) -> list[Json]:
    known = any(each["name"] == "proxy" for each in body["spec"]["template"]["spec"]["containers"])
    return [] if known else [add(f"{POD}/containers/-", SIDECAR)]


def volume(body: Json) -> list[Json]:
    known = any(each["name"] == "vault" for each in body["spec"]["template"]["spec"]["volumes"])
    mount = {"name": "vault", "mountPath": "/vault"}
    made = [
        add(f"{POD}/volumes/-", {"name": "vault", "emptyDir": {}}),
        add(f"{POD}/containers/0/volumeMounts/-", mount),
    ]
    return [] if known else made


def label(body: Json) -> list[Json]:
    return [add("/metadata/labels/injected", "yes"), add("/spec/template/metadata/labels/injected", "yes")]


def annotation(body: Json) -> list[Json]:
    return [add("/spec/template/metadata/annotations", {"injected": "yes"})]


def image(body: Json) -> list[Json]:
    found = body["spec"]["template"]["spec"]["containers"][0]["image"]
    mirrored = found if found.startswith("mirror.") else f"mirror.{found}"
    return [{"op": "replace", "path": f"{POD}/containers/0/image", "value": mirrored}]


def settings(body: Json) -> list[Json]:
    return [
        add(f"{POD}/tolerations", [{"key": "spot", "operator": "Exists"}]),
        add(f"{POD}/imagePullSecrets", [{"name": "mirror"}]),
        add(f"{POD}/securityContext/supplementalGroups", [7]),
        add(f"{POD}/containers/0/resources/limits/cpu", "3"),
        add("/spec/minReadySeconds", 0),
        add("/spec/revisionHistoryLimit", 5),
    ]


def removed(body: Json) -> list[Json]:
    found = body["spec"]["template"]["spec"]
    return [
        {"op": "remove", "path": f"{POD}/{key}"} for key in ("topologySpreadConstraints",) if key in found
    ]


MUTATIONS: dict[str, Callable[[Json], list[Json]]] = {
    each.__name__: each for each in (variable, sidecar, volume, label, annotation, image, settings, removed)
}


def everything(body: Json) -> list[Json]:
    return [step for mutation in MUTATIONS.values() for step in mutation(body)]


@pytest.fixture
def digits(control_plane: ControlPlane, operator: Operator, crd: str, namespace: str) -> Deployed:
    """A name for a resource; nothing is applied yet."""
    return Deployed(control_plane, namespace, "digits")


def look(digits: Deployed) -> None:
    """Have the operator look at all children: edit the Service, and wait until that is reverted."""
    change = {"spec": {"publishNotReadyAddresses": True}}
    digits.api.patch("services", digits.namespace, "digits", change)

    def is_back() -> bool:
        (service,) = digits.children("services")
        return not service["spec"].get("publishNotReadyAddresses")

    wait_until("the edit reverted", is_back)


def writes(digits: Deployed, operator: Operator, since: str) -> list[str]:
    """Return the operator's writes of anything but the Service, of statuses and of events."""
    found = digits.writes_since(since, operator.user)
    return [f"{each.verb} {each.resource}" for each in found if each.resource != "services"]


def come_to_rest(digits: Deployed, operator: Operator) -> None:
    """Wait for three looks in a row that need no write: what follows a rollout may come between two."""

    def is_quiet() -> bool:
        since = now()
        for _ in range(3):
            look(digits)
        return writes(digits, operator, since) == []

    wait_until("three looks without a write", is_quiet)


def made_by(operator: Operator, reviews: list[Json]) -> list[Json]:
    """Return what a webhook was asked about the operator's own writes; a dry run is none."""
    own = (review for review in reviews if review["userInfo"]["username"] == operator.user)
    return [review for review in own if not review.get("dryRun")]


@pytest.mark.parametrize("name", [*MUTATIONS, "everything"])
def test_what_a_webhook_makes_of_a_deployment_is_left_and_no_write_follows(
    digits: Deployed, operator: Operator, control_plane: ControlPlane, name: str
) -> None:
    mutation = MUTATIONS.get(name, everything)
    with mutating(control_plane, digits.namespace, DEPLOYMENTS, mutation) as reviews:
        bring_up(digits)
        come_to_rest(digits, operator)
        (deployment,) = digits.children("deployments")
        asked = made_by(operator, reviews)
        assert asked[0]["object"]["spec"] != deployment["spec"], "the webhook did something"
        assert digits.status["current"]["name"] == deployment["metadata"]["labels"][names.REVISION_LABEL]
        assert len(asked) == 1, "one write of the Deployment from its creation to rest"


def test_beside_a_webhook_edits_are_reverted_rollouts_complete_and_a_restart_writes_nothing(
    digits: Deployed, operator: Operator, control_plane: ControlPlane
) -> None:
    with mutating(control_plane, digits.namespace, DEPLOYMENTS, everything):
        bring_up(digits)
        (before,) = digits.children("deployments")
        edit = {"spec": {"template": {"spec": {"hostNetwork": True, "tolerations": None}}}}
        digits.api.patch("deployments", digits.namespace, "digits", edit)

        def is_back() -> bool:
            (deployment,) = digits.children("deployments")
            return bool(deployment["spec"] == before["spec"])

        wait_until("the edit reverted", is_back)
        digits.patch({"worker": {"env": [{"name": "MORE", "value": "1"}]}})
        second = wait_until("another revision", lambda: _newer(digits, before))

        def answers() -> bool:
            make_ready(digits)
            return _is_current(digits, second)

        wait_until("its pods", answers)
        digits.wait_current()
        since = now()
        operator.stop()
        operator.start()
        look(digits)
        assert writes(digits, operator, since) == []


def _newer(digits: Deployed, before: Json) -> str | None:
    (deployment,) = digits.children("deployments")
    name: str = deployment["metadata"]["labels"][names.REVISION_LABEL]
    return name if name != before["metadata"]["labels"][names.REVISION_LABEL] else None


def _is_current(digits: Deployed, name: str) -> bool:
    return bool(digits.status["current"]["name"] == name)


def test_a_revision_that_is_made_again_has_nothing_of_others(
    digits: Deployed, operator: Operator, control_plane: ControlPlane
) -> None:
    with mutating(control_plane, digits.namespace, DEPLOYMENTS, sidecar):
        bring_up(digits)
        name = digits.status["current"]["name"]
        before = digits.api.get("controllerrevisions", digits.namespace, name)
        operator.stop()
        try:
            edit = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
            digits.api.patch("deployments", digits.namespace, "digits", edit)
            digits.api.delete("controllerrevisions", digits.namespace, name)
        finally:
            operator.start()
        find = digits.api.find
        after = wait_until("the revision", lambda: find("controllerrevisions", digits.namespace, name))
        assert after["data"]["template"] == before["data"]["template"]


def test_a_repair_that_does_not_help_is_told_and_waits(
    digits: Deployed, operator: Operator, control_plane: ControlPlane
) -> None:
    bring_up(digits)

    def forgetful(body: Json) -> list[Json]:
        known = names.APPLIED_ANNOTATION in body["metadata"].get("annotations", {})
        where = "/metadata/annotations/" + names.APPLIED_ANNOTATION.replace("/", "~1")
        return [{"op": "remove", "path": where}] if known else []

    with mutating(control_plane, digits.namespace, DEPLOYMENTS, forgetful):
        digits.api.patch("deployments", digits.namespace, "digits", {"spec": {"minReadySeconds": 7}})
        digits.wait("DriftRejected", lambda: digits.condition("Reconciling")["reason"] == "DriftRejected")
        condition = digits.condition("Reconciling")
        assert condition["status"] == "True"
        assert "Deployment digits" in condition["message"]
        assert names.APPLIED_ANNOTATION in condition["message"]
        for kind in ("Ready", "Available"):
            assert digits.condition(kind)["status"] == "True"
    digits.wait_current()


@pytest.mark.parametrize("divisor", ["1", "1000m", "1024Ki", 1])
def test_any_writing_of_a_divisor_comes_to_rest(
    digits: Deployed, operator: Operator, divisor: object
) -> None:
    resource = "limits.memory" if divisor == "1024Ki" else "limits.cpu"
    source = {"resource": resource, "divisor": divisor}
    env = [{"name": "LIMIT", "valueFrom": {"resourceFieldRef": source}}]
    digits.apply({**SPEC, "worker": {**SPEC["worker"], "env": env}})
    finish_job(digits)
    make_ready(digits)
    digits.wait_current()
    come_to_rest(digits, operator)
