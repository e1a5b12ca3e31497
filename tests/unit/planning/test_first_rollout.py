"""From an empty namespace to Ready, step by step."""

import pytest

from modelpress.api import identity
from modelpress.planning.types import Plan
from tests.unit.planning.fake_cluster import ARTIFACT, SOURCE, SPEC, FakeCluster, ready_cluster


def test_the_steps_from_nothing_to_ready() -> None:
    cluster = FakeCluster()
    job, revision = cluster.job_name(), cluster.revision_name()
    assert cluster.settle() == [
        ["apply NetworkPolicy digits", f"apply Job {job}", "status"],
    ]
    cluster.job_succeeds()
    assert cluster.settle() == [
        [
            f"apply ControllerRevision {revision}",
            "apply Service digits",
            "apply Deployment digits",
            "apply PodDisruptionBudget digits",
            "status",
        ],
    ]
    cluster.roll_out(ready=False)
    assert cluster.settle() == [["status"]]
    cluster.roll_out()
    assert cluster.settle() == [["status"]]
    assert cluster.plan() == Plan()


def test_the_first_status_has_what_autoscalers_and_kstatus_need() -> None:
    cluster = FakeCluster()
    cluster.step()
    assert cluster.status["selector"] == "modelpress.dev/name=digits,modelpress.dev/role=entry"
    assert (cluster.status["replicas"], cluster.status["readyReplicas"]) == (0, 0)
    assert cluster.status["observedGeneration"] == 1
    assert cluster.verdict() == {
        "Ready": "False",
        "Available": "False",
        "Compressed": "False",
        "Reconciling": "True",
        "Stalled": "False",
    }
    assert cluster.says("Ready") == ("False", "Compressing")
    assert cluster.status["candidate"] == {"recipeHash": identity.recipe_hash(cluster.spec)}
    assert "url" not in cluster.status


def test_the_status_of_a_ready_resource() -> None:
    cluster = ready_cluster()
    assert cluster.verdict() == {
        "Ready": "True",
        "Available": "True",
        "Compressed": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    status = cluster.status
    assert status["current"] == {
        "name": cluster.revision_name(),
        "sourceDigest": SOURCE,
        "recipeHash": identity.recipe_hash(cluster.spec),
        "artifactDigest": ARTIFACT,
        "workerImage": "worker:1",
    }
    assert "candidate" not in status
    assert "failed" not in status
    assert status["compression"] == {"originalBytes": 4000, "compressedBytes": 1000, "ratio": "4.00"}
    assert status["evaluation"] == {
        "metric": "Accuracy",
        "original": "97.5%",
        "compressed": "97.25%",
        "drop": "0.25%",
        "passed": True,
    }
    assert status["url"] == "http://digits.models.svc.cluster.local"
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)


def test_events_tell_the_transitions_once() -> None:
    cluster = ready_cluster()
    assert [(note.type, note.reason) for note in cluster.notes] == [
        ("Normal", "Compressing"),
        ("Normal", "CompressionSucceeded"),
        ("Normal", "RollingOut"),
        ("Normal", "Available"),
    ]


def test_current_moves_only_when_the_rollout_has_completed() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.job_succeeds()
    cluster.settle()
    cluster.roll_out()
    for counts in (
        {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1},
        {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 2},
        {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2},
    ):
        cluster.observe_deployment(**counts)
        cluster.settle()
        assert "current" not in cluster.status
        assert cluster.says("Reconciling") == ("True", "RollingOut")
    deployment = cluster.observe_deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    deployment["metadata"]["generation"] += 1
    cluster.settle()
    assert "current" not in cluster.status, "the controller has not seen the newest generation"
    cluster.observe_deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    cluster.settle()
    assert cluster.status["current"]["name"] == cluster.revision_name()


def idle_cluster() -> FakeCluster:
    """Return a cluster whose first revision is in place at zero replicas."""
    cluster = FakeCluster({**SPEC, "replicas": 0})
    cluster.settle()
    cluster.job_succeeds()
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    return cluster


def test_a_first_rollout_of_zero_replicas_is_ready_and_current_with_its_first_pod() -> None:
    cluster = idle_cluster()
    assert cluster.says("Ready") == ("True", "ScaledToZero")
    assert cluster.says("Reconciling") == ("False", "Settled")
    assert "current" not in cluster.status
    assert cluster.status["candidate"]["name"] == cluster.revision_name()
    assert cluster.plan() == Plan()
    cluster.edit(replicas=1)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.status["current"]["name"] == cluster.revision_name()
    assert "candidate" not in cluster.status


def test_what_is_put_right_of_a_deployment_at_zero_replicas_is_no_rollout() -> None:
    cluster = idle_cluster()
    deployment = cluster.only("Deployment")
    deployment["spec"]["revisionHistoryLimit"] = 10  # as another release has it
    plan = cluster.plan()
    assert [body["kind"] for body in plan.apply] == ["Deployment"]
    assert (plan.status, plan.events) == (None, ())
    cluster.step()
    cluster.only("Deployment")["metadata"]["generation"] += 1  # the controller has not seen it yet
    assert cluster.plan() == Plan()


def test_without_evaluation_any_artifact_is_rolled_out() -> None:
    cluster = FakeCluster({key: value for key, value in SPEC.items() if key not in ("evaluation", "data")})
    cluster.settle()
    cluster.job_succeeds(scores=None)
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    assert cluster.says("Ready") == ("True", "Available")
    assert "evaluation" not in cluster.status


def test_a_resource_that_is_being_deleted_needs_nothing() -> None:
    cluster = ready_cluster()
    cluster.resource["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    cluster.objects.clear()
    assert cluster.plan() == Plan()


def test_no_free_slot_means_waiting_and_looking_again() -> None:
    cluster = FakeCluster()
    cluster.slots = 0
    assert cluster.plan().requeue == pytest.approx(5)
    cluster.settle()
    assert not cluster.names_of("Job")
    assert cluster.says("Reconciling") == ("True", "WaitingForJobSlot")
    began = cluster.condition("Reconciling")["lastTransitionTime"]
    cluster.wait(60)
    assert cluster.plan().slot_since == began, "who waits for longest is first"
    cluster.slots = 1
    assert cluster.step()[:2] == ["apply NetworkPolicy digits", f"apply Job {cluster.job_name()}"]


def test_times_of_conditions_move_only_with_their_status() -> None:
    cluster = FakeCluster()
    cluster.settle()
    began = cluster.condition("Reconciling")["lastTransitionTime"]
    cluster.wait(60)
    cluster.job_succeeds()
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "RollingOut")
    assert cluster.condition("Reconciling")["lastTransitionTime"] == began
    assert cluster.condition("Compressed")["lastTransitionTime"] == "2026-01-01T12:01:00Z"
