"""Whose an object is, and what a refusal of the API server means."""

from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.names import worker_selector
from modelpress.controllers.cluster import Stale, TemplateRefused
from modelpress.controllers.refusal import refusal_of, require_ours

OWNER: dict[str, Any] = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "ModelDeployment",
    "name": "digits",
    "uid": "new",
    "controller": True,
}
DESIRED: dict[str, Any] = {"kind": "Deployment", "metadata": {"name": "digits", "ownerReferences": [OWNER]}}


def _existing(controller: dict[str, Any] | None = None, owner: str | None = None) -> dict[str, Any]:
    labels = {"modelpress.dev/name": owner} if owner else {}
    return {
        "metadata": {
            "name": "digits",
            "labels": labels,
            "ownerReferences": [controller] if controller else [],
        }
    }


def test_what_we_control_is_ours_also_without_our_label() -> None:
    require_ours(_existing(OWNER), DESIRED)


def _selecting(labels: dict[str, str]) -> dict[str, Any]:
    return {**_existing(owner="digits"), "spec": {"selector": {"matchLabels": labels}}}


def test_an_object_with_our_label_and_no_controller_is_adopted() -> None:
    require_ours(_selecting(worker_selector("digits")), DESIRED)
    require_ours(_existing(owner="digits"), {**DESIRED, "kind": "Service"})


def test_a_deployment_with_our_label_that_selects_other_pods_is_a_name_conflict() -> None:
    with pytest.raises(TemplateRefused, match="selects other pods") as caught:
        require_ours(_selecting({"app": "digits"}), DESIRED)
    assert caught.value.reason is Reason.NAME_CONFLICT


@pytest.mark.parametrize(
    "existing",
    [
        _existing(),
        _existing(owner="other"),
        _existing({**OWNER, "kind": "Application", "apiVersion": "example.com/v1", "uid": "x"}),
        _existing({**OWNER, "name": "other", "uid": "x"}, owner="digits"),
    ],
)
def test_an_object_of_somebody_else_is_a_name_conflict(existing: dict[str, Any]) -> None:
    with pytest.raises(TemplateRefused, match=r"Deployment digits (is not ours|belongs to)") as caught:
        require_ours(existing, DESIRED)
    assert caught.value.reason is Reason.NAME_CONFLICT


def test_an_object_of_the_previous_resource_of_this_name_is_waited_for() -> None:
    with pytest.raises(Stale):
        require_ours(_existing({**OWNER, "uid": "old"}), DESIRED)


RBAC = 'deployments.apps "digits" is forbidden: User "system:serviceaccount:a:b" cannot patch resource'
QUOTA = 'deployments.apps "digits" is forbidden: exceeded quota: few, requested: count/deployments.apps=1'
TYPED = "failed to create typed patch object: .spec.template.spec.affnity: field not declared in schema"


@pytest.mark.parametrize(
    ("status", "message", "kind", "reason"),
    [
        (
            422,
            "spec.template.spec.containers[0].env[0].name: Required value",
            "Deployment",
            "InvalidPodSettings",
        ),
        (
            400,
            'strict decoding error: unknown field "spec.template.spec.affnity"',
            "Job",
            "InvalidPodSettings",
        ),
        (500, TYPED, "Deployment", "InvalidPodSettings"),
        (403, QUOTA, "Deployment", "QuotaExceeded"),
        (403, QUOTA, "Service", "QuotaExceeded"),
        (403, 'admission webhook "w.example" denied the request: no', "Job", "AdmissionRefused"),
        (400, 'admission webhook "w.example" denied the request: no', "Deployment", "AdmissionRefused"),
        (422, "is forbidden: ValidatingAdmissionPolicy 'p' denied request: no", "Job", "AdmissionRefused"),
        (403, RBAC, "Deployment", None),
        (422, 'metadata.labels: Invalid value: "a b"', "Service", "InvalidSpec"),
        (422, "spec.ingress: Required value", "NetworkPolicy", None),
        (500, "etcdserver: request timed out", "Deployment", None),
        (403, QUOTA, "PodDisruptionBudget", "DisruptionBudgetRefused"),
        (403, RBAC, "PodDisruptionBudget", "DisruptionBudgetRefused"),
        (400, 'admission webhook "w.example" denied', "PodDisruptionBudget", "DisruptionBudgetRefused"),
        (422, "spec.selector: Invalid value", "PodDisruptionBudget", "DisruptionBudgetRefused"),
        (500, "etcdserver: request timed out", "PodDisruptionBudget", None),
    ],
)
def test_only_what_the_user_can_cure_is_a_refusal(
    status: int, message: str, kind: str, reason: str | None
) -> None:
    refusal = refusal_of(status, message, {**DESIRED, "kind": kind})
    if reason is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.reason == reason
        assert message in refusal.message
