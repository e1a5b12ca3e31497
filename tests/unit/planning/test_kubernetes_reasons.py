"""Every reason with which Kubernetes 1.34 can hold a pod reaches the status with its own words."""

from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import pod_problems
from modelpress.planning.problems.kubernetes_reasons import TELLING_NORMAL
from modelpress.planning.problems.object_events import explain_events
from tests.unit.planning.test_pod_problems import waiting

Json = dict[str, Any]
CREATED = "2026-01-01T12:00:00Z"

# of events about pods, as kubelet, scheduler and controllers write them: reason, message, ours
EVENTS: list[tuple[str, str, Reason]] = [
    # pkg/kubelet/events/event.go
    ("Failed", 'Failed to pull image "w:1": not found', Reason.IMAGE_PULL_FAILED),
    ("Failed", "Error: ErrImagePull", Reason.IMAGE_PULL_FAILED),
    ("Failed", 'Error: secret "s" not found', Reason.POD_CRASHED),
    ("Failed", "error making pod data directories: no space left", Reason.POD_CRASHED),
    ("Failed", "Internal PreStartContainer hook failed: cpuset", Reason.POD_CRASHED),
    ("BackOff", 'Back-off pulling image "w:1"', Reason.IMAGE_PULL_FAILED),
    ("BackOff", "Back-off restarting failed container worker in pod p", Reason.POD_CRASHED),
    ("InspectFailed", 'Failed to inspect image "w:1": rpc error', Reason.IMAGE_PULL_FAILED),
    (
        "ErrImageNeverPull",
        "Container image is not present with pull policy of Never",
        Reason.IMAGE_PULL_FAILED,
    ),
    ("FailedCreatePodSandBox", "Failed to create pod sandbox: no IPs left", Reason.NODE_PROBLEM),
    ("FailedPodSandBoxStatus", "Unable to get pod sandbox status: deadline", Reason.NODE_PROBLEM),
    ("FailedCreatePodContainer", "unable to ensure pod container exists: cgroup", Reason.NODE_PROBLEM),
    ("NetworkNotReady", "network is not ready: cni plugin not initialized", Reason.NODE_PROBLEM),
    ("FailedSync", "error determining status: rpc error", Reason.NODE_PROBLEM),
    ("FailedKillPod", "error killing pod: timeout", Reason.NODE_PROBLEM),
    ("ExceededGracePeriod", "Container runtime did not kill the pod", Reason.NODE_PROBLEM),
    ("FailedNodeAllocatableEnforcement", "Failed to update limits", Reason.NODE_PROBLEM),
    ("FailedMount", "MountVolume.SetUp failed: timed out", Reason.VOLUME_NOT_MOUNTED),
    ("FailedMount", 'MountVolume.SetUp failed: secret "s" not found', Reason.SECRET_NOT_FOUND),
    ("FailedAttachVolume", "Multi-Attach error for volume", Reason.VOLUME_NOT_MOUNTED),
    ("FailedMapVolume", "MapVolume.SetUpDevice failed", Reason.VOLUME_NOT_MOUNTED),
    ("FailedMountOnFilesystemMismatch", "wrong file system", Reason.VOLUME_NOT_MOUNTED),
    ("AlreadyMountedVolume", "is already mounted", Reason.VOLUME_NOT_MOUNTED),
    ("VolumeResizeFailed", "resize failed", Reason.VOLUME_NOT_MOUNTED),
    ("FileSystemResizeFailed", "resize failed", Reason.VOLUME_NOT_MOUNTED),
    ("FailedPrepareDynamicResources", "driver is not registered", Reason.DEVICES_NOT_PREPARED),
    ("FailedValidation", "duplicate pod name", Reason.INVALID_POD_SETTINGS),
    ("FailedPostStartHook", "PostStartHook failed", Reason.POD_CRASHED),
    ("FailedPreStopHook", "PreStopHook failed", Reason.POD_CRASHED),
    ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", Reason.PROBE_FAILED),
    ("Preempting", "Preempted in order to admit critical pod", Reason.POD_EVICTED),
    ("Evicted", "The node was low on resource: memory", Reason.POD_EVICTED),
    (
        "FailedToRetrieveImagePullSecret",
        "Unable to retrieve some image pull secrets (s)",
        Reason.SECRET_NOT_FOUND,
    ),
    # of pods that the kubelet turns away, as events too: pkg/kubelet/lifecycle and others
    ("OutOfcpu", "Node didn't have enough resource: cpu", Reason.PODS_UNSCHEDULABLE),
    ("OutOfnvidia.com/gpu", "Node didn't have enough resource: nvidia.com/gpu", Reason.PODS_UNSCHEDULABLE),
    ("NodeAffinity", "Predicate NodeAffinity failed", Reason.PODS_UNSCHEDULABLE),
    ("NodeName", "Predicate NodeName failed", Reason.PODS_UNSCHEDULABLE),
    ("NodePorts", "Predicate NodePorts failed", Reason.PODS_UNSCHEDULABLE),
    ("HostPortConflict", "ports are taken", Reason.PODS_UNSCHEDULABLE),
    ("TaintToleration", "Predicate TaintToleration failed", Reason.PODS_UNSCHEDULABLE),
    (
        "TopologyAffinityError",
        "Resources cannot be allocated with Topology locality",
        Reason.PODS_UNSCHEDULABLE,
    ),
    ("SMTAlignmentError", "SMT Alignment Error", Reason.PODS_UNSCHEDULABLE),
    ("UnexpectedAdmissionError", "Allocate failed: no healthy devices", Reason.NODE_PROBLEM),
    ("UnknownReason", "predicates failed due to unknown reason", Reason.NODE_PROBLEM),
    ("UnexpectedPredicateFailureType", "which is unexpected", Reason.NODE_PROBLEM),
    ("InvalidNodeInfo", "Kubelet cannot get node info.", Reason.NODE_PROBLEM),
    ("VolumeAttachmentLimitExceeded", "limit exceeded", Reason.VOLUME_NOT_MOUNTED),
    ("SysctlForbidden", 'forbidden sysctl: "kernel.msgmax"', Reason.INVALID_POD_SETTINGS),
    ("AppArmor", "Cannot enforce AppArmor: profile is not loaded", Reason.INVALID_POD_SETTINGS),
    ("PodOSNotSupported", "OS field doesn't match node OS", Reason.INVALID_POD_SETTINGS),
    ("PodOSSelectorNodeLabelDoesNotMatch", "label doesn't match", Reason.INVALID_POD_SETTINGS),
    ("InitContainerRestartPolicyForbidden", "policy", Reason.INVALID_POD_SETTINGS),
    ("SupplementalGroupsPolicyNotSupported", "Strict is not supported", Reason.INVALID_POD_SETTINGS),
    ("PodLevelResourcesNotSupported", "pod level resources", Reason.INVALID_POD_SETTINGS),
    ("NodeShutdown", "Pod was rejected as the node is shutting down.", Reason.POD_EVICTED),
    ("Terminated", "Pod was terminated in response to imminent node shutdown.", Reason.POD_EVICTED),
    # pkg/scheduler, pkg/controller
    ("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.", Reason.PODS_UNSCHEDULABLE),
    ("Preempted", "Preempted by pod x on node n", Reason.POD_EVICTED),
    ("TaintManagerEviction", "Marking for deletion Pod models/p", Reason.POD_EVICTED),
    ("DeviceTaintManagerEviction", "Marking for deletion", Reason.POD_EVICTED),
    ("NodeNotReady", "Node is not ready", Reason.NODE_PROBLEM),
    (
        "FailedResourceClaimCreation",
        'PodResourceClaim gpu: template "x" not found',
        Reason.DEVICES_NOT_PREPARED,
    ),
    ("FailedBinding", "ephemeral volume v: not found", Reason.VOLUME_NOT_MOUNTED),
    # none of the above: the last resort
    ("SomethingNew", "of a later Kubernetes", Reason.POD_NOT_READY),
    ("DNSConfigForming", "Nameserver limits were exceeded", Reason.POD_NOT_READY),
]


def _event(word: str, message: str, at: str = CREATED, **about: Any) -> Json:
    kind = "Normal" if word in TELLING_NORMAL else "Warning"
    involved = about or {"uid": "u"}
    return {"type": kind, "reason": word, "message": message, "lastTimestamp": at, "involvedObject": involved}


def _pod(**status: Any) -> Json:
    return {"metadata": {"name": "p", "uid": "u"}, "status": {**waiting("ContainerCreating"), **status}}


@pytest.mark.parametrize(("word", "message", "ours"), EVENTS)
def test_an_event_that_holds_a_pod(word: str, message: str, ours: Reason) -> None:
    assert pod_problems.explain_pod(_pod(), [_event(word, message)]) == Explanation(ours, message)


# pkg/kubelet/{images/types,container/sync_result,kuberuntime/kuberuntime_container}.go, cri-api errors.go
WAITING: list[tuple[str, Reason]] = [
    ("ErrImagePull", Reason.IMAGE_PULL_FAILED),
    ("ImagePullBackOff", Reason.IMAGE_PULL_FAILED),
    ("ImageInspectError", Reason.IMAGE_PULL_FAILED),
    ("ErrImageNeverPull", Reason.IMAGE_PULL_FAILED),
    ("InvalidImageName", Reason.IMAGE_PULL_FAILED),
    ("RegistryUnavailable", Reason.IMAGE_PULL_FAILED),
    ("SignatureValidationFailed", Reason.IMAGE_PULL_FAILED),
    ("CreateContainerConfigError", Reason.INVALID_POD_SETTINGS),
    ("CreateContainerError", Reason.POD_CRASHED),
    ("PreCreateHookError", Reason.POD_CRASHED),
    ("PreStartHookError", Reason.POD_CRASHED),
    ("PostStartHookError", Reason.POD_CRASHED),
    ("RunContainerError", Reason.POD_CRASHED),
    ("KillContainerError", Reason.POD_CRASHED),
    ("CrashLoopBackOff", Reason.POD_CRASHED),
    ("CreatePodSandboxError", Reason.NODE_PROBLEM),
    ("ConfigPodSandboxError", Reason.NODE_PROBLEM),
    ("KillPodSandboxError", Reason.NODE_PROBLEM),
    ("ResizePodInPlaceError", Reason.NODE_PROBLEM),
]


@pytest.mark.parametrize(("word", "ours"), WAITING)
@pytest.mark.parametrize("field", ["containerStatuses", "initContainerStatuses"])
def test_a_reason_of_a_waiting_container(word: str, ours: Reason, field: str) -> None:
    pod = {"metadata": {"name": "p"}, "status": waiting(word, "why", field)}
    assert pod_problems.explain_pod(pod) == Explanation(ours, "why")


@pytest.mark.parametrize("word", ["Unschedulable", "SchedulingGated", "SchedulerError"])
def test_a_reason_of_the_scheduler(word: str) -> None:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": word, "message": "why"}
    assert pod_problems.explain_pod(_pod(conditions=[scheduled])) == Explanation(
        Reason.PODS_UNSCHEDULABLE, "why"
    )


FAILED: list[tuple[str, Reason]] = [
    ("Evicted", Reason.POD_EVICTED),
    ("NodeLost", Reason.NODE_PROBLEM),
    ("DeadlineExceeded", Reason.DEADLINE_EXCEEDED),
    ("OutOfmemory", Reason.PODS_UNSCHEDULABLE),
    ("OutOfephemeral-storage", Reason.PODS_UNSCHEDULABLE),
    ("OutOfpods", Reason.PODS_UNSCHEDULABLE),
    ("Preempting", Reason.POD_EVICTED),
    ("Terminated", Reason.POD_EVICTED),
    ("AdmissionByAPlugin", Reason.POD_NOT_READY),
]


@pytest.mark.parametrize(("word", "ours"), FAILED)
def test_a_reason_of_a_failed_pod(word: str, ours: Reason) -> None:
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Failed", "reason": word, "message": "why"}}
    assert pod_problems.explain_pod(pod) == Explanation(ours, "why")


REFUSED: list[tuple[str, Reason]] = [
    ('pods "d-" is forbidden: exceeded quota: small, requested: pods=1', Reason.QUOTA_EXCEEDED),
    ('pods "d-" is forbidden: failed quota: small: must specify limits.memory', Reason.QUOTA_EXCEEDED),
    ('pods "d-" is forbidden: status unknown for quota: small', Reason.QUOTA_EXCEEDED),
    ('pods "d-" is forbidden: violates PodSecurity "restricted:latest"', Reason.ADMISSION_REFUSED),
    ('admission webhook "w.example" denied the request: no', Reason.ADMISSION_REFUSED),
    ("failed calling webhook: connection refused", Reason.ADMISSION_REFUSED),
    ('pods "d-" is forbidden: error looking up service account m/x: not found', Reason.ADMISSION_REFUSED),
    ('pods "d-" is forbidden: no PriorityClass with name high was found', Reason.ADMISSION_REFUSED),
]


@pytest.mark.parametrize(("message", "ours"), REFUSED)
def test_pods_that_cannot_be_created(message: str, ours: Reason) -> None:
    text = f"Error creating: {message}"
    job = {"metadata": {"name": "j", "uid": "u"}}
    assert explain_events(job, [_event("FailedCreate", text)]) == Explanation(ours, text)
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": text}
    assert pod_problems.refused_pods({"status": {"conditions": [refused]}}) == Explanation(ours, text)


CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
OF_CLAIM: list[tuple[str, str]] = [
    ("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found'),
    ("FailedBinding", "no persistent volumes available for this claim and no storage class is set"),
    ("ExternalProvisioning", "Waiting for a volume to be created"),
    ("ClaimLost", "Bound claim has lost its PersistentVolume."),
    ("ClaimMisbound", "Two claims are bound to the same volume"),
    ("VolumeMismatch", "Cannot bind to requested volume"),
]


@pytest.mark.parametrize(("word", "message"), OF_CLAIM)
def test_a_claim_that_is_not_bound(word: str, message: str) -> None:
    scheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
    }
    pod = _pod(conditions=[scheduled]) | {"spec": {"volumes": [CLAIM]}}
    event = _event(word, message, kind="PersistentVolumeClaim", name="data", uid="of the claim")
    assert pod_problems.explain_pod(pod, [event]) == Explanation(
        Reason.VOLUME_NOT_MOUNTED,
        f"PersistentVolumeClaim data: {message}",
    )
    scheduled["message"] = "0/1 nodes are available: 1 Insufficient cpu."
    assert pod_problems.explain_pod(pod, [event]) == Explanation(
        Reason.PODS_UNSCHEDULABLE, scheduled["message"]
    )


def test_a_claim_of_an_ephemeral_volume_has_the_name_of_its_pod() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"volumes": [{"name": "scratch", "ephemeral": {}}, CLAIM]}}
    assert pod_problems.claims_of(pod) == ("p-scratch", "data")


def test_what_holds_a_pod_goes_before_what_is_only_new_and_both_before_hints() -> None:
    events = [
        _event("DNSConfigForming", "hint", "2026-01-01T12:00:30Z"),
        _event("SomethingNew", "new", "2026-01-01T12:00:20Z"),
        _event("FailedMount", "known", "2026-01-01T12:00:10Z"),
    ]
    words = []
    while events:
        found = pod_problems.explain_pod(_pod(), events)
        assert found is not None
        words.append(found.message)
        events = [event for event in events if event["message"] != found.message]
    assert words == ["known", "new", "hint"]


def test_events_in_turns_give_one_message_and_an_old_one_gives_way() -> None:
    one = _event("FailedMount", "volume a", "2026-01-01T12:01:00Z")
    two = _event("FailedMount", "volume b", "2026-01-01T12:02:00Z")
    assert pod_problems.explain_pod(_pod(), [one, two]) == Explanation(Reason.VOLUME_NOT_MOUNTED, "volume a")
    two["lastTimestamp"], one["lastTimestamp"] = one["lastTimestamp"], two["lastTimestamp"]
    assert pod_problems.explain_pod(_pod(), [one, two]) == Explanation(Reason.VOLUME_NOT_MOUNTED, "volume a")
    two["lastTimestamp"] = "2026-01-01T12:08:00Z"
    assert pod_problems.explain_pod(_pod(), [one, two]) == Explanation(Reason.VOLUME_NOT_MOUNTED, "volume b")


@pytest.mark.parametrize(
    "step",
    [
        {
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T12:05:00Z"}
            ]
        },
        {
            "conditions": [
                {
                    "type": "PodReadyToStartContainers",
                    "status": "True",
                    "lastTransitionTime": "2026-01-01T12:05:00Z",
                }
            ]
        },
        {
            "phase": "Running",
            "containerStatuses": [
                {"name": "worker", "state": {"running": {"startedAt": "2026-01-01T12:05:00Z"}}}
            ],
        },
    ],
)
def test_what_was_said_before_the_last_step_of_a_pod_no_longer_holds(step: Json) -> None:
    before = _event("FailedCreatePodSandBox", "no IPs left", "2026-01-01T12:04:59Z")
    since = _event("Unhealthy", "Readiness probe failed", "2026-01-01T12:05:10Z")
    assert pod_problems.explain_pod(_pod(**step), [before]) is None
    assert pod_problems.explain_pod(_pod(**step), [before, since]) == Explanation(
        Reason.PROBE_FAILED,
        "Readiness probe failed",
    )


def test_the_scheduler_dates_its_events_in_fields_of_its_own() -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T12:05:00Z"}
    event = _event("FailedScheduling", "0/1 nodes") | {
        "lastTimestamp": None,
        "eventTime": "2026-01-01T12:00:00.123456Z",
    }
    assert pod_problems.explain_pod(_pod(conditions=[scheduled]), [event]) is None
    event["series"] = {"count": 3, "lastObservedTime": "2026-01-01T12:06:00.000000Z"}
    assert pod_problems.explain_pod(_pod(conditions=[scheduled]), [event]) is not None


def test_a_normal_event_that_tells_of_no_wait_is_none() -> None:
    assert pod_problems.explain_pod(_pod(), [_event("Pulling", "Pulling image") | {"type": "Normal"}]) is None
