"""Which objects are asked for their events, and when to look again."""

from datetime import UTC, datetime, timedelta
from typing import Any

from modelpress.planning.problems.waiting import Subject, look_again, unexplained

NOW = datetime(2025, 1, 1, 0, 1, tzinfo=UTC)
OLD, YOUNG = "2025-01-01T00:00:00Z", "2025-01-01T00:00:55Z"
CREATING = {"waiting": {"reason": "ContainerCreating"}}
POD, JOB = Subject("shop", "involvedObject.uid=p"), Subject("shop", "involvedObject.uid=job")
CLAIM = Subject("shop", "involvedObject.kind=PersistentVolumeClaim,involvedObject.name=data")
CLAIMS = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}


def _pod(state: dict[str, Any], created: str = OLD, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {
            "namespace": "shop",
            "name": "p",
            "uid": "p",
            "creationTimestamp": created,
            "ownerReferences": [{"uid": "job", "controller": True}],
        },
        "status": {"phase": "Pending", "containerStatuses": [{"state": state}], **status},
    }


def _job(created: str = OLD, **status: Any) -> dict[str, Any]:
    metadata = {"namespace": "shop", "uid": "job", "creationTimestamp": created}
    return {"kind": "Job", "metadata": metadata, "status": status}


def _running(since: str) -> dict[str, Any]:
    return {"running": {"startedAt": since}}


def _scheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"conditions": [condition]}


def test_a_pod_that_waits_for_its_volumes_is_asked_about() -> None:
    assert unexplained([_job()], [_pod(CREATING)], NOW) == [POD]


def test_a_pod_that_its_node_has_not_begun_with_is_asked_about() -> None:
    assert unexplained([], [_pod({}, containerStatuses=[])], NOW) == [POD]


def test_a_pod_that_has_just_started_is_left_alone() -> None:
    assert unexplained([], [_pod(CREATING, created=YOUNG)], NOW) == []


def test_a_pod_that_runs_is_left_alone_until_it_should_be_ready() -> None:
    assert unexplained([], [_pod(_running("2025-01-01T00:00:31Z"), phase="Running")], NOW) == []
    late = _pod(_running("2025-01-01T00:00:30Z"), phase="Running")
    assert unexplained([], [late], NOW) == [POD]
    late["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert unexplained([], [late], NOW) == []


def test_a_pod_whose_init_container_has_just_started_is_left_alone() -> None:
    waiting = {"waiting": {"reason": "PodInitializing"}}
    assert unexplained([], [_pod(waiting, initContainerStatuses=[{"state": _running(YOUNG)}])], NOW) == []


def test_a_pod_that_says_itself_why_it_waits_is_left_alone() -> None:
    assert unexplained([], [_pod({"waiting": {"reason": "ImagePullBackOff"}})], NOW) == []
    assert unexplained([], [_pod({}, **_scheduled("0/1 nodes: Insufficient cpu"))], NOW) == []


def test_the_claims_of_a_pod_without_a_node_are_asked_about() -> None:
    unbound = _pod({}, **_scheduled("pod has unbound immediate PersistentVolumeClaims"))
    assert unexplained([], [{**unbound, "spec": CLAIMS}], NOW) == [POD, CLAIM]
    silent = {**_pod(CREATING), "spec": CLAIMS}
    assert unexplained([], [silent], NOW) == [POD, CLAIM]
    silent["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    assert unexplained([], [silent], NOW) == [POD]


def test_a_job_without_pods_is_asked_about_unless_it_is_over() -> None:
    assert unexplained([_job()], [], NOW) == [JOB]
    assert unexplained([_job(created=YOUNG)], [], NOW) == []
    assert unexplained([_job(conditions=[{"type": "Failed", "status": "True"}])], [], NOW) == []
    assert unexplained([{**_job(), "spec": {"suspend": True}}], [], NOW) == [], (
        "its queue keeps it from having some"
    )


def test_a_job_whose_pods_all_failed_is_asked_why_there_is_no_other() -> None:
    failed = _pod({"terminated": {"exitCode": 69}}, phase="Failed")
    assert unexplained([_job()], [failed], NOW) == [JOB]


def test_a_whole_fleet_of_waiting_pods_costs_few_requests() -> None:
    assert len(unexplained([], [_pod(CREATING)] * 200, NOW)) == 3
    fleet = [
        {**_pod(CREATING), "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": str(number)}}]}}
        for number in range(200)
    ]
    assert len(unexplained([], fleet, NOW)) == 6


def test_many_waiting_workers_do_not_hide_what_a_job_waits_for() -> None:
    workers = [_pod(CREATING) for _ in range(20)]
    for number, worker in enumerate(workers):
        worker["metadata"] |= {"uid": f"w{number}", "ownerReferences": [{"uid": "rs", "controller": True}]}
    assert POD in unexplained([_job()], [*workers, _pod(CREATING)], NOW)
    assert unexplained([_job()], workers, NOW)[0] == JOB


def test_the_planner_looks_again_at_least_twice_a_minute_while_a_pod_waits() -> None:
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    for seconds in (0, 9, 11, 60, 300, 3600, 86400):
        pause = look_again([_pod(CREATING)], begin + timedelta(seconds=seconds))
        assert pause is not None
        assert 0 < pause <= 30
    assert look_again([_pod({"waiting": {"reason": "ErrImagePull"}})], begin) is None
