"""What pods, Jobs and Deployments say, and what the resource says of it."""

import json
from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import pod_problems
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, Json, ready_cluster

NOT_READY = {"type": "Ready", "status": "False"}
NO_SECRET = 'MountVolume.SetUp failed for volume "v" : secret "missing" not found'


def waiting(reason: str, message: str = "", field: str = "containerStatuses") -> Json:
    status = {
        "name": "worker",
        "image": "worker:1",
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return {"phase": "Pending", "conditions": [NOT_READY], field: [status]}


def ended(exit_code: int, message: str = "", reason: str = "Error") -> Json:
    return {"exitCode": exit_code, "message": message, "reason": reason}


def crashed(**end: Any) -> Json:
    status = {
        "name": "worker",
        "ready": False,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": end},
    }
    return {"phase": "Running", "conditions": [NOT_READY], "containerStatuses": [status]}


UNSCHEDULABLE = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
CASES: dict[str, tuple[Json, Reason | None, str]] = {
    "no node": (
        {
            "phase": "Pending",
            "conditions": [
                NOT_READY,
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": UNSCHEDULABLE,
                },
            ],
        },
        Reason.PODS_UNSCHEDULABLE,
        UNSCHEDULABLE,
    ),
    "gated": (
        {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
        },
        Reason.PODS_UNSCHEDULABLE,
        "SchedulingGated",
    ),
    "device gone": (
        {"phase": "Failed", "reason": "OutOfnvidia.com/gpu", "message": "Pod was rejected"},
        Reason.PODS_UNSCHEDULABLE,
        "Pod was rejected",
    ),
    "evicted": (
        {
            "phase": "Failed",
            "reason": "Evicted",
            "message": 'Usage of EmptyDir volume "work" exceeds the limit',
            "containerStatuses": [{"name": "worker", "state": {"terminated": ended(137)}}],
        },
        Reason.POD_EVICTED,
        'Usage of EmptyDir volume "work" exceeds the limit',
    ),
    "image": (waiting("ErrImagePull", "not found"), Reason.IMAGE_PULL_FAILED, "not found"),
    "image back-off": (waiting("ImagePullBackOff", "401"), Reason.IMAGE_PULL_FAILED, "401"),
    "image name": (
        waiting("InvalidImageName"),
        Reason.IMAGE_PULL_FAILED,
        "image worker:1: InvalidImageName",
    ),
    "image never pulled": (waiting("ErrImageNeverPull", "never"), Reason.IMAGE_PULL_FAILED, "never"),
    "image of the init container": (
        waiting("ErrImagePull", "not found", "initContainerStatuses"),
        Reason.IMAGE_PULL_FAILED,
        "not found",
    ),
    "secret of env": (
        waiting("CreateContainerConfigError", 'secret "missing" not found'),
        Reason.SECRET_NOT_FOUND,
        'secret "missing" not found',
    ),
    "key of a secret": (
        waiting("CreateContainerConfigError", "couldn't find key K in Secret models/s3"),
        Reason.SECRET_NOT_FOUND,
        "couldn't find key K in Secret models/s3",
    ),
    "root image": (
        waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
        Reason.INVALID_POD_SETTINGS,
        "container has runAsNonRoot and image will run as root",
    ),
    "no such command": (waiting("RunContainerError", "exec failed"), Reason.POD_CRASHED, "exec failed"),
    "just starting": (waiting("ContainerCreating"), None, ""),
    "out of memory": (
        crashed(**ended(137, reason="OOMKilled")),
        Reason.OUT_OF_MEMORY,
        "container worker was killed: its node ran out of memory",
    ),
    "a command that is not there": (
        crashed(**ended(128, "runc create failed\nexec: no such file", reason="StartError")),
        Reason.POD_CRASHED,
        "runc create failed\nexec: no such file",
    ),
    "drained": (
        {
            "phase": "Failed",
            "conditions": [
                {"type": "DisruptionTarget", "status": "True", "message": "Eviction API: evicting"}
            ],
            "containerStatuses": [{"name": "worker", "state": {"terminated": ended(143)}}],
        },
        Reason.POD_EVICTED,
        "Eviction API: evicting",
    ),
    "a word of a later Kubernetes": (waiting("NewWaitingReason"), Reason.POD_NOT_READY, "NewWaitingReason"),
    "in back-off, and nothing else is known": (
        waiting("CrashLoopBackOff", "back-off 40s restarting failed container=c pod=p_n(uid)"),
        Reason.POD_CRASHED,
        "back-off restarting failed container=c pod=p_n(uid)",
    ),
    "its own words": (
        crashed(**ended(65, json.dumps({"reason": "ModelLoadFailed", "message": "no signature"}))),
        Reason.MODEL_LOAD_FAILED,
        "no signature",
    ),
    "other words": (
        crashed(**ended(1, "Traceback\n  File\nKeyError: 'x'")),
        Reason.POD_CRASHED,
        "container worker ended with exit code 1: KeyError: 'x'",
    ),
    "no words": (crashed(**ended(1)), Reason.POD_CRASHED, "container worker ended with exit code 1"),
    "ready": (
        {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], **waiting("ErrImagePull")}
        | {"conditions": [{"type": "Ready", "status": "True"}]},
        None,
        "",
    ),
    "garbage": ({"phase": "Pending", "conditions": "x", "containerStatuses": [3, {"state": []}]}, None, ""),
    "nothing": ({}, None, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_and_message_of_a_pod(case: str) -> None:
    status, reason, message = CASES[case]
    found = pod_problems.explain_pod({"metadata": {"name": "p"}, "status": status})
    assert (found.reason if found else None) is reason
    assert (found.message if found else "") == message


@pytest.mark.parametrize(
    ("message", "reason"),
    [(NO_SECRET, Reason.SECRET_NOT_FOUND), ('configmap "c" not found', Reason.VOLUME_NOT_MOUNTED)],
)
def test_an_event_tells_what_a_starting_pod_waits_for(message: str, reason: Reason) -> None:
    pod = {"metadata": {"name": "p", "uid": "u"}, "status": waiting("ContainerCreating")}
    event = {"reason": "FailedMount", "message": message, "involvedObject": {"name": "p", "uid": "u"}}
    found = pod_problems.explain_pod(pod, [event])
    assert found is not None
    assert (found.reason, found.message) == (reason, message)
    another = {**event, "involvedObject": {"name": "p", "uid": "another"}}
    assert pod_problems.explain_pod(pod, [another]) is None


def test_of_causes_that_are_told_in_turns_it_is_always_the_same_one() -> None:
    pod = {"metadata": {"name": "p", "uid": "u"}, "status": waiting("ContainerCreating")}
    messages = (NO_SECRET, 'configmap "c" not found')
    found = {
        pod_problems.explain_pod(
            pod,
            [
                {
                    "reason": "FailedMount",
                    "message": message,
                    "involvedObject": {"uid": "u"},
                    "lastTimestamp": f"2026-01-01T12:0{minute}:00Z",
                }
                for message, minute in zip(messages, minutes, strict=True)
            ],
        )
        for minutes in ((0, 1), (2, 1), (2, 3), (4, 4))
    }
    assert [why.reason for why in found if why] == [Reason.SECRET_NOT_FOUND]


def test_what_a_container_says_goes_before_what_the_scheduler_says() -> None:
    pods = [
        {"metadata": {"name": "a"}, "status": CASES["no node"][0]},
        {"metadata": {"name": "b"}, "status": CASES["out of memory"][0]},
    ]
    found = pod_problems.explain(pods, [])
    assert found is not None
    assert found.reason is Reason.OUT_OF_MEMORY


def test_trouble_of_a_rollout_that_may_pass_shows_in_reconciling_and_ready() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.job_succeeds()
    cluster.settle()
    pod = cluster.add_worker(False)
    pod["status"] = CASES["no node"][0]
    cluster.observe_deployment(replicas=2, updatedReplicas=2)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "PodsUnschedulable")
    assert cluster.says("Ready") == ("False", "PodsUnschedulable")
    assert cluster.condition("Ready")["message"] == UNSCHEDULABLE
    assert cluster.notes[-1].type == "Warning"


def test_a_quota_that_refuses_pods_is_named() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.job_succeeds()
    cluster.settle()
    deployment = cluster.observe_deployment()
    message = 'pods "digits-1" is forbidden: exceeded quota: small'
    deployment["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": message}]
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "QuotaExceeded")
    assert cluster.condition("Reconciling")["message"] == message


def test_a_quota_that_refuses_a_jobs_pods_is_named_from_its_events() -> None:
    cluster = FakeCluster()
    cluster.settle()
    assert cluster.plan().requeue == pytest.approx(10)
    job = cluster.only("Job")
    cluster.events = [
        {
            "reason": "FailedCreate",
            "message": "exceeded quota",
            "involvedObject": {"kind": "Job", "uid": job["metadata"]["uid"]},
        }
    ]
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "QuotaExceeded")


def test_a_secret_that_a_job_lacks_is_named_and_looked_for_again() -> None:
    cluster = FakeCluster({**SPEC, "model": {**SPEC["model"], "secretRef": {"name": "missing"}}})
    cluster.settle()
    pod = cluster.add_job_pod(cluster.only("Job"), "Pending")
    pod["status"] = waiting("ContainerCreating")
    cluster.wait(4)
    assert cluster.plan().requeue == pytest.approx(6)
    cluster.wait(20)
    assert cluster.plan().requeue == pytest.approx(10)
    cluster.events = [
        {
            "reason": "FailedMount",
            "message": NO_SECRET,
            "involvedObject": {"uid": pod["metadata"]["uid"]},
        }
    ]
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "SecretNotFound")
    assert cluster.condition("Reconciling")["message"] == NO_SECRET
    pod["status"] = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "job", "state": {"running": {}}}],
    }
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "Compressing")
    assert cluster.plan().requeue is None


def test_a_job_between_two_tries_says_why_the_last_one_failed() -> None:
    cluster = FakeCluster()
    cluster.settle()
    said = json.dumps({"reason": "SourceUnavailable", "message": "connection refused"})
    cluster.add_job_pod(cluster.only("Job"), "Failed", cluster.terminated(69, said))
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "SourceUnavailable")
    events = len(cluster.notes)
    cluster.add_job_pod(cluster.only("Job"), "Running")
    cluster.wait(100)
    assert cluster.settle() == []
    assert cluster.plan().requeue == pytest.approx(20)
    cluster.wait(20)
    cluster.settle()
    assert cluster.says("Reconciling") == ("True", "Compressing")
    assert [note.reason for note in cluster.notes[events:]] == ["Compressing"]


def test_messages_that_change_are_no_new_events() -> None:
    cluster = ready_cluster()
    cluster.edit(serving={"maxBatchSize": 8})
    cluster.settle()
    before = len(cluster.notes)
    for ready in (0, 1):
        cluster.add_worker(ready=bool(ready))
        cluster.settle()
    assert len(cluster.notes) == before


def test_a_very_long_message_is_cut() -> None:
    found = pod_problems.explain_pod(
        {"metadata": {"name": "p"}, "status": waiting("ErrImagePull", "x" * 5000)}
    )
    assert found is not None
    assert len(found.message) == 2000


@pytest.mark.parametrize(
    ("spec", "limit"),
    [
        ({"containers": [{"name": "worker", "resources": {"limits": {"memory": "40Mi"}}}]}, "40Mi"),
        ({"initContainers": [{"name": "worker", "resources": {"limits": {"memory": "1Gi"}}}]}, "1Gi"),
        ({"containers": [{"name": "worker"}], "resources": {"limits": {"memory": "2Gi"}}}, "2Gi"),
    ],
)
def test_out_of_memory_names_the_limit(spec: Json, limit: str) -> None:
    status = crashed(**ended(137, reason="OOMKilled"))
    found = pod_problems.explain_pod({"metadata": {"name": "p"}, "spec": spec, "status": status})
    assert found == Explanation(
        Reason.OUT_OF_MEMORY,
        f"container worker was killed: it used more memory than its limit of {limit}",
    )


def test_a_job_out_of_memory_names_the_limit() -> None:
    cluster = FakeCluster({**SPEC, "job": {"resources": {"limits": {"memory": "500Mi"}}}})
    cluster.settle()
    cluster.job_fails(137, reason="OOMKilled")
    for pod in cluster.pods.values():
        pod["spec"] = cluster.only("Job")["spec"]["template"]["spec"]
    cluster.settle()
    assert cluster.says("Stalled") == ("True", "OutOfMemory")
    assert (
        "container job was killed: it used more memory than its limit of 500Mi"
        in (cluster.condition("Stalled")["message"])
    )


def test_replica_sets_that_cannot_be_made_are_told_of() -> None:
    message = 'Failed to create new replica set "digits-1": admission webhook "w" denied the request: no'
    progress = {
        "type": "Progressing",
        "status": "False",
        "reason": "ReplicaSetCreateError",
        "message": message,
    }
    found = pod_problems.refused_pods({"status": {"conditions": [progress]}})
    assert found == Explanation(Reason.ADMISSION_REFUSED, message)
