"""What the status of pods, Jobs and Deployments and their events mean: a documented reason, and the original
message of the scheduler, kubelet or container.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from pydantic import ValidationError

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobFailure
from modelpress.planning import objects
from modelpress.planning.note import Note, note
from modelpress.planning.types import Body

CRASHES = 3  # restarts before Ready after which a rollout has failed
LOOK_AGAIN_SECONDS = 10.0  # what is younger may simply be starting
_TEMPORARY_EXIT = 69  # the container says that a retry may help (errors.UnavailableError)
_OUT_OF_MEMORY = "OOMKilled"
_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_STARTING = ("ContainerCreating", "PodInitializing")


def explain(pods: Iterable[Body], events: Iterable[Body]) -> Note | None:
    """Return why pods are not ready: what a container said before what the scheduler said."""
    events = tuple(events)
    found = [explanation for pod in pods if (explanation := explain_pod(pod, events)) is not None]
    telling = [each for each in found if each.reason is not Reason.PODS_UNSCHEDULABLE]
    return next(iter(telling or found), None)


def explain_pod(pod: Body, events: Iterable[Body] = ()) -> Note | None:
    """Return why a pod is not ready, or None where it is, or is just starting."""
    if objects.is_true(pod, "Ready"):
        return None
    containers = tuple(container_statuses(pod))
    for status in containers:
        waiting = _waiting(status)
        if waiting:
            return waiting
    for status in containers:
        ended = terminated(status)
        if ended is not None:
            return explain_end(status, ended)
    return _unscheduled(pod) or _failed(pod) or _explain_events(pod, events)


def explain_end(status: Body, ended: Body) -> Note:
    """Return why a container ended; `status` is its containerStatus, `ended` a terminated state of it."""
    said = failure(ended)
    if said:
        return said
    name, code = status.get("name"), ended.get("exitCode")
    if ended.get("reason") == _OUT_OF_MEMORY:
        return note(Reason.OUT_OF_MEMORY, f"container {name} was killed: it used more memory than its limit")
    detail = str(ended.get("message") or "").strip().splitlines()
    return note(
        Reason.POD_CRASHED,
        f"container {name} ended with exit code {code}" + (f": {detail[-1]}" if detail else ""),
    )


def failure(ended: Body) -> Note | None:
    """Return the JobFailure of a termination message; None where it holds something else."""
    try:
        said = JobFailure.model_validate_json(str(ended.get("message") or ""))
    except ValidationError:
        return None
    return note(said.reason, said.message)


def container_statuses(pod: Body) -> Iterator[Body]:
    """Yield the statuses of a pod's containers in the order in which they run."""
    yield from objects.items(pod, "status", "initContainerStatuses")
    yield from objects.items(pod, "status", "containerStatuses")


def terminated(status: Body) -> Body | None:
    """Return how a container last ended where that was a failure that still holds."""
    now: Body | None = objects.dig(status, "state", "terminated")
    if now is not None:
        return now if now.get("exitCode") != 0 else None
    before: Body | None = objects.dig(status, "lastState", "terminated")
    if before is None or status.get("ready") or before.get("exitCode") == 0:
        return None
    return before


def keeps_crashing(pod: Body) -> Note | None:
    """Return why a container of a pod that is not ready has ended too often.

    Ends that the container itself calls temporary, and a lost artifact that is made again, do not count: the
    progress deadline ends those.
    """
    if objects.is_true(pod, "Ready"):
        return None
    for status in container_statuses(pod):
        ended = terminated(status)
        if ended is None or objects.number(status, "restartCount") < CRASHES:
            continue
        why = explain_end(status, ended)
        if ended.get("exitCode") != _TEMPORARY_EXIT and why.reason is not Reason.ARTIFACT_LOST:
            return why
    return None


def refused_pods(deployment: Body) -> Note | None:
    """Return why the Deployment's pods cannot be created: a quota, PodSecurity or another admission rule."""
    refused = objects.condition(deployment, "ReplicaFailure")
    if refused is None or refused.get("status") != "True":
        return None
    return note(Reason.QUOTA_EXCEEDED, str(refused.get("message") or "pods cannot be created"))


def refused_job_pods(job: Body, events: Iterable[Body]) -> Note | None:
    """Return why a Job's pods cannot be created."""
    for event in events:
        if event.get("reason") == "FailedCreate" and _is_about(event, job):
            return note(Reason.QUOTA_EXCEEDED, str(event.get("message") or "pods cannot be created"))
    return None


def look_again(pods: Iterable[Body], now: datetime) -> float | None:
    """Return when to look for events of pods that wait without saying why: no watch event tells."""
    waits = [_wait(pod, now) for pod in pods if _is_starting(pod)]
    return min(waits, default=None)


def _wait(pod: Body, now: datetime) -> float:
    left = LOOK_AGAIN_SECONDS - objects.age(objects.dig(pod, "metadata", "creationTimestamp"), now)
    return left if left > 0 else LOOK_AGAIN_SECONDS


def _is_starting(pod: Body) -> bool:
    if objects.is_true(pod, "Ready") or objects.deleting(pod):
        return False
    reasons = [objects.dig(status, "state", "waiting", "reason") for status in container_statuses(pod)]
    return any(reason in _STARTING for reason in reasons) and not any(
        objects.dig(status, "state", "running") is not None for status in container_statuses(pod)
    )


def _waiting(status: Body) -> Note | None:
    waiting = objects.dig(status, "state", "waiting") or {}
    reason, message = waiting.get("reason"), str(waiting.get("message") or "")
    if reason in _IMAGE_REASONS:
        return note(Reason.IMAGE_PULL_FAILED, message or f"image {status.get('image')}: {reason}")
    if reason in _CONFIG_REASONS:
        return note(_config_reason(reason, message), message or reason)
    return None


def _config_reason(reason: str, message: str) -> Reason:
    if reason != "CreateContainerConfigError":
        return Reason.POD_CRASHED
    return Reason.SECRET_NOT_FOUND if _names_missing_secret(message) else Reason.INVALID_POD_SETTINGS


def _names_missing_secret(message: str) -> bool:
    text = message.lower()
    return "secret" in text and ("not found" in text or "couldn't find key" in text or "non-existent" in text)


def _unscheduled(pod: Body) -> Note | None:
    scheduled = objects.condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return note(Reason.PODS_UNSCHEDULABLE, str(scheduled.get("message") or "no node fits"))
    return None


def _failed(pod: Body) -> Note | None:
    if objects.dig(pod, "status", "phase") != "Failed":
        return None
    reason = str(objects.dig(pod, "status", "reason") or "")
    message = str(objects.dig(pod, "status", "message") or reason or "the pod failed")
    kind = Reason.PODS_UNSCHEDULABLE if reason.startswith(("OutOf", "NodeAffinity")) else Reason.POD_CRASHED
    return note(kind, message)


def _explain_events(pod: Body, events: Iterable[Body]) -> Note | None:
    if objects.dig(pod, "status", "phase") not in (None, "Pending"):
        return None
    for event in events:
        if event.get("reason") in ("FailedMount", "FailedAttachVolume") and _is_about(event, pod):
            message = str(event.get("message") or "")
            missing = _names_missing_secret(message)
            return note(Reason.SECRET_NOT_FOUND if missing else Reason.VOLUME_NOT_MOUNTED, message)
    return None


def _is_about(event: Body, body: Body) -> bool:
    about = objects.dig(event, "involvedObject") or {}
    uid = about.get("uid")
    return bool(uid == objects.uid_of(body) if uid else about.get("name") == objects.name_of(body))
