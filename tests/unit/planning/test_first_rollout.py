"""From an empty namespace to Ready, step by step."""

import pytest

from modelpress.api import identity
from modelpress.planning.types import Plan
from tests.unit.planning.world import ARTIFACT, SOURCE, SPEC, World, ready_world


def test_the_steps_from_nothing_to_ready() -> None:
    world = World()
    job, revision = world.job_name(), world.revision_name()
    assert world.settle() == [
        ["apply NetworkPolicy digits", f"apply Job {job}", "status"],
    ]
    world.job_succeeds()
    assert world.settle() == [
        [
            f"apply ControllerRevision {revision}",
            "apply Service digits",
            "apply Deployment digits",
            "apply PodDisruptionBudget digits",
            "status",
        ],
    ]
    world.roll_out(ready=False)
    assert world.settle() == [["status"]]
    world.roll_out()
    assert world.settle() == [["status"]]
    assert world.plan() == Plan()


def test_the_first_status_has_what_autoscalers_and_kstatus_need() -> None:
    world = World()
    world.step()
    assert world.status["selector"] == "modelpress.dev/name=digits,modelpress.dev/role=entry"
    assert (world.status["replicas"], world.status["readyReplicas"]) == (0, 0)
    assert world.status["observedGeneration"] == 1
    assert world.verdict() == {
        "Ready": "False",
        "Available": "False",
        "Compressed": "False",
        "Reconciling": "True",
        "Stalled": "False",
    }
    assert world.says("Ready") == ("False", "Compressing")
    assert world.status["candidate"] == {"recipeHash": identity.recipe_hash(world.spec)}
    assert "url" not in world.status


def test_the_status_of_a_ready_resource() -> None:
    world = ready_world()
    assert world.verdict() == {
        "Ready": "True",
        "Available": "True",
        "Compressed": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    status = world.status
    assert status["current"] == {
        "name": world.revision_name(),
        "sourceDigest": SOURCE,
        "recipeHash": identity.recipe_hash(world.spec),
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
    world = ready_world()
    assert [(note.type, note.reason) for note in world.notes] == [
        ("Normal", "Compressing"),
        ("Normal", "CompressionSucceeded"),
        ("Normal", "RollingOut"),
        ("Normal", "Available"),
    ]


def test_current_moves_only_when_the_rollout_has_completed() -> None:
    world = World()
    world.settle()
    world.job_succeeds()
    world.settle()
    world.roll_out()
    for counts in (
        {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1},
        {"replicas": 3, "updatedReplicas": 2, "availableReplicas": 2},
        {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2},
    ):
        world.observe_deployment(**counts)
        world.settle()
        assert "current" not in world.status
        assert world.says("Reconciling") == ("True", "RollingOut")
    deployment = world.observe_deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    deployment["metadata"]["generation"] += 1
    world.settle()
    assert "current" not in world.status, "the controller has not seen the newest generation"
    world.observe_deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    world.settle()
    assert world.status["current"]["name"] == world.revision_name()


def test_a_first_rollout_of_zero_replicas_is_ready_and_scaled_to_zero() -> None:
    world = World({**SPEC, "replicas": 0})
    world.settle()
    world.job_succeeds()
    world.settle()
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "ScaledToZero")
    assert world.status["current"]["name"] == world.revision_name()
    assert world.plan() == Plan()


def test_without_evaluation_any_artifact_is_rolled_out() -> None:
    world = World({key: value for key, value in SPEC.items() if key not in ("evaluation", "data")})
    world.settle()
    world.job_succeeds(scores=None)
    world.settle()
    world.roll_out()
    world.settle()
    assert world.says("Ready") == ("True", "Available")
    assert "evaluation" not in world.status


def test_a_resource_that_is_being_deleted_needs_nothing() -> None:
    world = ready_world()
    world.resource["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    world.objects.clear()
    assert world.plan() == Plan()


def test_no_free_slot_means_waiting_and_looking_again() -> None:
    world = World()
    world.slots = 0
    assert world.plan().requeue == pytest.approx(5)
    world.settle()
    assert not world.names_of("Job")
    assert world.says("Reconciling") == ("True", "WaitingForJobSlot")
    world.slots = 1
    assert world.step()[:2] == ["apply NetworkPolicy digits", f"apply Job {world.job_name()}"]


def test_times_of_conditions_move_only_with_their_status() -> None:
    world = World()
    world.settle()
    began = world.condition("Reconciling")["lastTransitionTime"]
    world.wait(60)
    world.job_succeeds()
    world.settle()
    assert world.says("Reconciling") == ("True", "RollingOut")
    assert world.condition("Reconciling")["lastTransitionTime"] == began
    assert world.condition("Compressed")["lastTransitionTime"] == "2026-01-01T12:01:00Z"
