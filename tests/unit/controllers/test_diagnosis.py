"""Which objects are asked for their events, and the events that we write."""

from datetime import UTC, datetime
from typing import Any

from modelpress.controllers.diagnosis import event_body, unexplained
from modelpress.planning.types import EventNote

NOW = datetime(2025, 1, 1, 0, 1, tzinfo=UTC)
OLD, YOUNG = "2025-01-01T00:00:00Z", "2025-01-01T00:00:55Z"
CREATING = {"waiting": {"reason": "ContainerCreating"}}


def _pod(
    state: dict[str, Any], created: str = OLD, init: dict[str, Any] | None = None, owner: str = "job"
) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": "Pending", "containerStatuses": [{"state": state}]}
    if init:
        status["initContainerStatuses"] = [{"state": init}]
    return {
        "kind": "Pod",
        "metadata": {"uid": "p", "creationTimestamp": created, "ownerReferences": [{"uid": owner}]},
        "status": status,
    }


def _job(created: str = OLD, **status: Any) -> dict[str, Any]:
    return {"kind": "Job", "metadata": {"uid": "job", "creationTimestamp": created}, "status": status}


def test_a_pod_that_waits_for_its_volumes_is_asked_about() -> None:
    pod = _pod(CREATING)
    assert unexplained([_job()], [pod], NOW) == [pod]


def test_a_pod_that_has_just_started_is_left_alone() -> None:
    assert unexplained([], [_pod(CREATING, created=YOUNG)], NOW) == []


def test_a_pod_whose_init_container_runs_is_left_alone() -> None:
    waiting = {"waiting": {"reason": "PodInitializing"}}
    assert unexplained([], [_pod(waiting, init={"running": {}})], NOW) == []


def test_a_pod_that_says_itself_why_it_waits_is_left_alone() -> None:
    assert unexplained([], [_pod({"waiting": {"reason": "ImagePullBackOff"}})], NOW) == []


def test_a_job_without_pods_is_asked_about_unless_it_is_over() -> None:
    job = _job()
    assert unexplained([job], [], NOW) == [job]
    assert unexplained([_job(created=YOUNG)], [], NOW) == []
    assert unexplained([_job(conditions=[{"type": "Failed", "status": "True"}])], [], NOW) == []
    assert unexplained([{**job, "spec": {"suspend": True}}], [], NOW) == [], (
        "its queue keeps it from having some"
    )


def test_a_whole_fleet_of_waiting_pods_costs_few_requests() -> None:
    assert len(unexplained([], [_pod(CREATING)] * 200, NOW)) == 3


def test_a_long_message_is_cut_to_what_an_event_takes() -> None:
    resource = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"namespace": "shop", "name": "digits", "uid": "u", "resourceVersion": "5"},
    }
    body = event_body(resource, EventNote("Warning", "JobFailed", "x" * 5000), NOW)
    assert len(body["message"]) == 1024
    assert body["involvedObject"]["uid"] == "u"
    assert (
        body["metadata"]["name"]
        != event_body(resource, EventNote("Normal", "a", "b"), NOW)["metadata"]["name"]
    )
