"""A revision that the API server does not take, or whose rollout failed: what serves goes on and scales."""

from dataclasses import replace
from typing import Any

import pytest

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.planning.plan import decide
from modelpress.planning.types import Plan, Refusal
from tests.unit.planning.fake_cluster import HOW_TO_RETRY, SETTINGS, FakeCluster, ready_cluster

WORDS = "Deployment digits is refused: nodeAffinty: field not declared in schema"


def refuse(cluster: FakeCluster, reason: Reason = Reason.INVALID_POD_SETTINGS) -> Plan:
    """Return the plan after the API server was asked for the desired revision, and keep its status."""
    refusal = Refusal(cluster.revision_name(), reason, WORDS)
    plan = decide(replace(cluster.observe(), refusal=refusal), SETTINGS)
    if plan.status is not None:
        cluster.resource["status"] = plan.status
    return plan


def applied(plan: Plan) -> list[str]:
    return [f"{body['kind']} {body['metadata']['name']}" for body in plan.apply]


def fail_rollout(cluster: FakeCluster) -> None:
    """Let the rollout under way pass its deadline, and the old revision come back."""
    cluster.observe_deployment(replicas=3, updatedReplicas=1, availableReplicas=2)
    cluster.deadline_exceeded(after=1)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    cluster.wait(60)


def edit_batch(cluster: FakeCluster, size: int) -> None:
    cluster.edit(serving={"maxBatchSize": size})
    cluster.settle()


def test_the_current_one_is_taken_back_where_nothing_but_an_object_without_an_owner_has_its_content() -> None:
    cluster = ready_cluster()
    before, current = cluster.only("Deployment")["spec"]["template"], cluster.status["current"]["name"]
    cluster.edit(serving={"maxBatchSize": 8})
    refuse(cluster)
    cluster.only("ControllerRevision")["metadata"]["ownerReferences"] = []
    del cluster.objects["Deployment", "digits"]
    plan = refuse(cluster)
    assert applied(plan) == [f"ControllerRevision {current}", "Deployment digits"]
    assert plan.apply[1]["spec"]["template"] == before
    assert plan.delete == ()


def test_a_refused_revision_is_not_made_and_the_current_one_scales() -> None:
    cluster = ready_cluster()
    before = cluster.only("Deployment")["spec"]["template"]
    current = cluster.status["current"]
    cluster.edit(serving={"maxBatchSize": 8}, replicas=5, strategy={"type": "Recreate"})
    plan = refuse(cluster)
    assert applied(plan) == ["Deployment digits"]
    spec = plan.apply[0]["spec"]
    assert (spec["template"], spec["replicas"]) == (before, 5)
    assert spec["strategy"] == {"type": "Recreate"}
    assert cluster.status["current"] == current
    assert cluster.says("Stalled") == ("True", "InvalidPodSettings")
    assert cluster.condition("Stalled")["message"] == WORDS + HOW_TO_RETRY
    assert [note.reason for note in plan.events] == ["InvalidPodSettings"]


def test_a_refused_revision_is_remembered_and_not_asked_for_again() -> None:
    cluster = ready_cluster()
    cluster.edit(serving={"maxBatchSize": 8})
    refuse(cluster)
    failed = cluster.status["failed"]
    assert failed["reason"] == "InvalidPodSettings"
    assert cluster.revision_name().endswith(failed["revisionHash"][:10])
    assert cluster.plan() == Plan()
    cluster.edit(replicas=7)
    assert cluster.settle() == [["apply Deployment digits", "status"]]
    assert cluster.status["failed"] == failed
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    assert applied(cluster.plan())[0] == f"ControllerRevision {cluster.revision_name()}"


@pytest.mark.parametrize("reason", [Reason.QUOTA_EXCEEDED, Reason.ADMISSION_REFUSED, Reason.NAME_CONFLICT])
def test_what_a_quota_a_policy_or_a_name_refuses_is_no_failure_of_the_revision(reason: Reason) -> None:
    cluster = ready_cluster()
    cluster.edit(serving={"maxBatchSize": 8}, replicas=5)
    plan = refuse(cluster, reason)
    assert applied(plan) == ["Deployment digits"]
    assert "failed" not in cluster.status
    told = "Reconciling" if reason is Reason.QUOTA_EXCEEDED else "Stalled"  # nobody need touch the resource
    assert cluster.says(told) == ("True", reason.value)
    assert cluster.condition(told)["message"].endswith("it is tried again, with growing waits")
    assert cluster.verdict()["Ready"] == "False"
    assert f"ControllerRevision {cluster.revision_name()}" in applied(cluster.plan()), "it is asked for again"


def test_a_refused_first_revision_leaves_nothing_of_itself() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.job_succeeds()
    plan = refuse(cluster)
    assert "Deployment digits" not in applied(plan)
    assert f"ControllerRevision {cluster.revision_name()}" not in applied(plan)
    assert cluster.says("Stalled") == ("True", "InvalidPodSettings")
    assert cluster.settle() == []
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.verdict()["Ready"] == "True"
    assert "failed" not in cluster.status


def test_the_refusal_of_another_revision_says_nothing_of_this_one() -> None:
    cluster = ready_cluster()
    cluster.edit(serving={"maxBatchSize": 8})
    other = replace(cluster.observe(), refusal=Refusal("digits-other", Reason.INVALID_POD_SETTINGS, WORDS))
    assert decide(other, SETTINGS) == cluster.plan()


def test_another_bad_edit_is_another_event() -> None:
    cluster = ready_cluster()
    cluster.edit(serving={"maxBatchSize": 8})
    refuse(cluster)
    cluster.edit(serving={"maxBatchSize": 16})
    refusal = Refusal(cluster.revision_name(), Reason.INVALID_POD_SETTINGS, "another typo")
    plan = decide(replace(cluster.observe(), refusal=refusal), SETTINGS)
    assert [note.message for note in plan.events] == ["another typo" + HOW_TO_RETRY]


def test_each_failed_revision_is_remembered() -> None:
    cluster = ready_cluster()
    failures: dict[int, dict[str, Any]] = {}
    for size in (8, 16):
        edit_batch(cluster, size)
        fail_rollout(cluster)
        failures[size] = cluster.status["failed"]
    before = cluster.only("Deployment")["metadata"]["generation"]
    for size in (8, 16, 8):
        cluster.edit(serving={"maxBatchSize": size})
        assert cluster.settle() == [["status"]]
        assert cluster.says("Stalled") == ("True", "RolloutFailed")
        assert cluster.status["failed"] == failures[size]
    assert cluster.only("Deployment")["metadata"]["generation"] == before


def test_a_failed_revision_is_known_after_another_one_has_served_until_a_retry_of_it_succeeds() -> None:
    cluster = ready_cluster()
    edit_batch(cluster, 8)
    fail_rollout(cluster)
    edit_batch(cluster, 16)
    cluster.roll_out()
    cluster.settle()
    assert "failed" not in cluster.status
    edit_batch(cluster, 8)
    assert cluster.says("Stalled") == ("True", "RolloutFailed")
    bad = cluster.objects["ControllerRevision", cluster.revision_name()]["metadata"]
    assert bad["annotations"][names.FAILED_ANNOTATION]
    cluster.annotate(names.RETRY_ANNOTATION, "1")
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.verdict()["Ready"] == "True"
    assert bad["annotations"][names.FAILED_ANNOTATION] == "", "it serves"


@pytest.mark.parametrize("noted", ["", "garbage", "[]", '{"reason": 7}'])
def test_a_note_that_cannot_be_read_is_none(noted: str) -> None:
    cluster = ready_cluster()
    edit_batch(cluster, 8)
    revision = cluster.objects["ControllerRevision", cluster.revision_name()]
    revision["metadata"]["annotations"] = {names.FAILED_ANNOTATION: noted}
    cluster.roll_out()
    cluster.settle()
    assert cluster.verdict()["Ready"] == "True"
