"""What the reasons of Kubernetes 1.34 mean: each word of a kubelet, scheduler or controller that can hold a
pod, and the reason under which we tell of it.

The words are those of waiting containers, of failed pods (status.reason), of conditions and of events:
pkg/kubelet/{events,images,container,kuberuntime,lifecycle,eviction,preemption,nodeshutdown,cm,sysctl},
pkg/scheduler and pkg/controller of Kubernetes.
"""

from modelpress.api.conditions import Reason

_WORDS: dict[Reason, tuple[str, ...]] = {
    Reason.IMAGE_PULL_FAILED: (
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "InspectFailed",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    ),
    Reason.INVALID_POD_SETTINGS: (
        "CreateContainerConfigError",
        "FailedValidation",
        "AppArmor",
        "SysctlForbidden",
        "InitContainerRestartPolicyForbidden",
        "PodLevelResourcesNotSupported",
        "PodOSNotSupported",
        "PodOSSelectorNodeLabelDoesNotMatch",
        "SupplementalGroupsPolicyNotSupported",
    ),
    Reason.POD_CRASHED: (
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
        "KillContainerError",
        "CrashLoopBackOff",
        "Failed",
        "BackOff",
        "FailedPostStartHook",
        "FailedPreStopHook",
    ),
    Reason.PROBE_FAILED: ("Unhealthy",),
    Reason.VOLUME_NOT_MOUNTED: (
        "FailedMount",
        "FailedAttachVolume",
        "FailedMapVolume",
        "FailedMountOnFilesystemMismatch",
        "AlreadyMountedVolume",
        "VolumeResizeFailed",
        "FileSystemResizeFailed",
        "VolumeAttachmentLimitExceeded",
        # events about a PersistentVolumeClaim
        "FailedBinding",
        "ProvisioningFailed",
        "ProvisioningCleanupFailed",
        "ExternalProvisioning",
        "ExternalExpanding",
        "WaitForFirstConsumer",
        "WaitForPodScheduled",
        "VolumeMismatch",
        "ClaimLost",
        "ClaimMisbound",
    ),
    Reason.DEVICES_NOT_PREPARED: (
        "FailedPrepareDynamicResources",
        "FailedResourceClaimCreation",
        "ResourceClaimCreationFailed",
    ),
    Reason.SECRET_NOT_FOUND: ("FailedToRetrieveImagePullSecret",),
    Reason.NODE_PROBLEM: (
        "FailedCreatePodSandBox",
        "FailedPodSandBoxStatus",
        "CreatePodSandboxError",
        "ConfigPodSandboxError",
        "KillPodSandboxError",
        "FailedCreatePodContainer",
        "FailedSync",
        "FailedKillPod",
        "ExceededGracePeriod",
        "NetworkNotReady",
        "NodeNotReady",
        "NodeLost",
        "InvalidNodeInfo",
        "FailedNodeAllocatableEnforcement",
        "ResizePodInPlaceError",
        "UnexpectedAdmissionError",
        "UnexpectedPredicateFailureType",
        "UnknownReason",
    ),
    Reason.PODS_UNSCHEDULABLE: (
        "FailedScheduling",
        "Unschedulable",
        "SchedulingGated",
        "SchedulerError",
        "NodeAffinity",
        "NodeName",
        "NodePorts",
        "HostPortConflict",
        "TaintToleration",
        "TopologyAffinityError",
        "SMTAlignmentError",
    ),
    Reason.POD_EVICTED: (
        "Evicted",
        "Preempting",
        "Preempted",
        "NodeShutdown",
        "Terminated",
        "Shutdown",
        "TaintManagerEviction",
        "DeviceTaintManagerEviction",
        # reasons of the condition DisruptionTarget
        "PreemptionByScheduler",
        "DeletionByTaintManager",
        "DeletionByDeviceTaintManager",
        "DeletionByPodGC",
        "EvictionByEvictionAPI",
        "TerminationByKubelet",
    ),
    Reason.ADMISSION_REFUSED: ("FailedCreate", "FailedDelete", "ReplicaSetCreateError"),
    Reason.DEADLINE_EXCEEDED: ("DeadlineExceeded",),
}
_MEANINGS = {word: reason for reason, words in _WORDS.items() for word in words}
_OUT_OF = "OutOf"  # and the name of a resource: the node has not enough of it
_QUOTA = ("exceeded quota", "failed quota", "unknown for quota")

# Events of type Normal that tell of a wait all the same.
TELLING_NORMAL = (
    "BackOff",
    "FailedBinding",
    "ExternalProvisioning",
    "Preempted",
    "TaintManagerEviction",
    "DeviceTaintManagerEviction",
)
# Warnings about something beside the pod's start: they count only where there is no other.
HINTS = (
    "FailedToRetrieveImagePullSecret",
    "AlreadyMountedVolume",
    "DNSConfigForming",
    "MissingClusterDNS",
    "HostIPsIPFamilyMismatch",
    "LifecycleHTTPFallback",
    "ProbeWarning",
    "VolumeConditionAbnormal",
    "MultipleSELinuxLabels",
    "FailedPreStopHook",
)


def meaning(word: str, message: str = "") -> Reason | None:
    """Return what a reason of Kubernetes and its message mean; None where it is not in the table."""
    found = Reason.PODS_UNSCHEDULABLE if word.startswith(_OUT_OF) else _MEANINGS.get(word)
    match found:
        case Reason.ADMISSION_REFUSED:
            return refusal(message)
        case Reason.INVALID_POD_SETTINGS | Reason.VOLUME_NOT_MOUNTED if _names_missing_secret(message):
            return Reason.SECRET_NOT_FOUND
        case Reason.POD_CRASHED if word in ("Failed", "BackOff") and _is_about_image(message):
            return Reason.IMAGE_PULL_FAILED
    return found


def refusal(message: str) -> Reason:
    """Return who refuses an object: a quota, exceeded or in want of limits, or another rule."""
    text = message.lower()
    return Reason.QUOTA_EXCEEDED if any(words in text for words in _QUOTA) else Reason.ADMISSION_REFUSED


def _names_missing_secret(message: str) -> bool:
    text = message.lower()
    return "secret" in text and ("not found" in text or "couldn't find key" in text or "non-existent" in text)


def _is_about_image(message: str) -> bool:
    text = message.lower()
    return "pull" in text and "image" in text
