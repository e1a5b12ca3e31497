"""Condition types and reasons: every word that a condition, an event or a Job's result can carry.

docs/reference.md is checked against `Reason`, so that each has a sentence for users.
"""

from enum import StrEnum
from os import EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE


class ConditionType(StrEnum):
    """Types of conditions. Reconciling and Stalled follow kstatus: they are True when abnormal."""

    READY = "Ready"
    AVAILABLE = "Available"
    COMPRESSED = "Compressed"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Reason(StrEnum):
    """Reasons, each with its meaning and the exit code (sysexits.h) of an error of this reason."""

    # progress
    COMPRESSING = "Compressing", "The compression Job is running or about to run."
    ROLLING_OUT = "RollingOut", "Pods of a new revision are starting."
    SERVING_GAP = "ServingGap", "A rollout ends the last pod before a new one is ready, as strategy says."
    DISRUPTION_BUDGET_REFUSED = (
        "DisruptionBudgetRefused",
        "The cluster refuses the PodDisruptionBudget, or its name is taken: evictions are not limited.",
    )
    AVAILABLE = "Available", "Enough pods are ready."
    SCALED_TO_ZERO = "ScaledToZero", "replicas is 0."
    COMPRESSION_SUCCEEDED = "CompressionSucceeded", "An artifact of this recipe exists."
    SUSPENDED = "Suspended", "suspend is true: no new Job and no new revision."
    DRIFT_REJECTED = (
        "DriftRejected",
        "A child does not stay as it was applied: somebody or a webhook changes it again and again.",
    )
    WAITING_FOR_DELETION = (
        "WaitingForDeletion",
        "An object of an earlier resource of this name goes away.",
    )
    JOB_SUSPENDED = "JobSuspended", "The Job is suspended: its queue, such as Kueue, lets it run later."
    WAITING_FOR_JOB_SLOT = (
        "WaitingForJobSlot",
        "As many Jobs run as the operator allows, in all or in one namespace.",
    )
    MINIMUM_REPLICAS_UNAVAILABLE = "MinimumReplicasUnavailable", "Fewer pods are ready than desired."
    SETTLED = "Settled", "Nothing is left to do, or nothing is wrong."
    # the resource
    INVALID_SPEC = (
        "InvalidSpec",
        "The spec breaks a rule of the CRD, or Kubernetes refuses the Service that it describes.",
        EX_USAGE,
    )
    NOT_SUPPORTED_YET = (
        "NotSupportedYet",
        "A field of the spec is part of the API and not implemented.",
        EX_USAGE,
    )
    INVALID_POD_SETTINGS = (
        "InvalidPodSettings",
        "Kubernetes refuses the pod template, or a setting would change what ModelPress sets in it.",
        EX_USAGE,
    )
    NAME_CONFLICT = "NameConflict", "An object of the needed name belongs to somebody else."
    AUTOSCALER_MISDIRECTED = (
        "AutoscalerMisdirected",
        "An autoscaler scales the Deployment: its scaleTargetRef must name the ModelDeployment.",
    )
    API_ERROR = (
        "ApiError",
        "The API server gives no answer, or an error that is no fault of the spec; it is tried again.",
    )
    INTERNAL_ERROR = "InternalError", "A fault in ModelPress itself; its log has the details."
    # the Job
    INVALID_MODEL = "InvalidModel", "The model file cannot be read, or is not safe.", EX_DATAERR
    UNSUPPORTED_MODEL = (
        "UnsupportedModel",
        "The model can be read but not compressed or served as asked.",
        EX_DATAERR,
    )
    INVALID_DATA = "InvalidData", "A data set cannot be read or does not fit the model.", EX_DATAERR
    DIGEST_MISMATCH = "DigestMismatch", "The content differs from its sha256.", EX_DATAERR
    SOURCE_NOT_FOUND = "SourceNotFound", "The source has no such object.", EX_NOINPUT
    SOURCE_UNAUTHORIZED = (
        "SourceUnauthorized",
        "The source refuses the credential, or none was given.",
        EX_NOPERM,
    )
    SOURCE_UNAVAILABLE = "SourceUnavailable", "The source does not answer.", EX_UNAVAILABLE
    STORE_UNAUTHORIZED = (
        "StoreUnauthorized",
        "The registry refuses the credential, or none was given.",
        EX_NOPERM,
    )
    STORE_UNAVAILABLE = "StoreUnavailable", "The registry does not answer.", EX_UNAVAILABLE
    ARTIFACT_LOST = "ArtifactLost", "The registry no longer has the artifact.", EX_NOINPUT
    ARTIFACT_CORRUPT = "ArtifactCorrupt", "The artifact's content differs from its digest.", EX_DATAERR
    JOB_FAILED = "JobFailed", "The Job failed for a reason that it could not tell."
    RESULT_LOST = (
        "ResultLost",
        "A Job ended well, but its pod went before its result could be read: it runs again, a few times.",
    )
    DEADLINE_EXCEEDED = "DeadlineExceeded", "The Job took longer than job.activeDeadlineSeconds."
    EVALUATION_FAILED = "EvaluationFailed", "The compressed model misses a limit of evaluation.", EX_DATAERR
    # pods
    OUT_OF_MEMORY = "OutOfMemory", "A container used more memory than its limit."
    PODS_UNSCHEDULABLE = "PodsUnschedulable", "No node fits a pod, or its scheduling is held back."
    IMAGE_PULL_FAILED = "ImagePullFailed", "An image cannot be pulled."
    SECRET_NOT_FOUND = "SecretNotFound", "A Secret, or a key of it, is missing.", EX_NOINPUT
    VOLUME_NOT_MOUNTED = "VolumeNotMounted", "A volume cannot be provided, attached or mounted."
    DEVICES_NOT_PREPARED = "DevicesNotPrepared", "A claim of devices cannot be made or prepared."
    QUOTA_EXCEEDED = "QuotaExceeded", "A quota refuses a pod."
    ADMISSION_REFUSED = "AdmissionRefused", "PodSecurity, a webhook or another admission rule refuses a pod."
    NODE_PROBLEM = (
        "NodeProblem",
        "A node cannot start or keep a pod: its runtime, network or the node itself.",
    )
    POD_EVICTED = "PodEvicted", "A pod was ended to make room, or because its node goes away."
    PROBE_FAILED = "ProbeFailed", "A container runs and does not pass its probe."
    MODEL_LOAD_FAILED = "ModelLoadFailed", "A worker cannot load the artifact.", EX_DATAERR
    POD_CRASHED = "PodCrashed", "A container cannot be started, or ended unexpectedly."
    POD_NOT_READY = (
        "PodNotReady",
        "A pod is not ready: the newest warning about it, of a kind not named here.",
    )
    ROLLOUT_FAILED = "RolloutFailed", "A new revision did not become ready; the old one was restored."

    meaning: str
    exit_code: int

    def __new__(cls, value: str, meaning: str, exit_code: int = EX_SOFTWARE) -> "Reason":
        """Make a string member that also knows its meaning and its exit code."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.exit_code = exit_code
        return member

    @classmethod
    def of(cls, word: str) -> "Reason":
        """Return the reason of a word that was written before; another release may have others."""
        return next((reason for reason in cls if reason == word), cls.JOB_FAILED)
