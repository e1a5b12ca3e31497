"""What the status of pods, Jobs and Deployments and their events mean: a documented reason, and the original
message of the scheduler, kubelet or container.
"""

from collections.abc import Container, Iterable, Iterator
from datetime import datetime

from pydantic import ValidationError

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobFailure
from modelpress.api.errors import UnavailableError
from modelpress.api.text import printable
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import kubernetes_reasons
from modelpress.planning.problems.object_events import explain_claim, explain_events
from modelpress.planning.types import Body

CRASHES = 3  # restarts before Ready after which a rollout has failed
_OUT_OF_MEMORY = "OOMKilled"
_NEVER_STARTED = ("StartError", "ContainerCannotRun")  # the message is the runtime's, not the container's
_STARTING = ("ContainerCreating", "PodInitializing")
_REPLACED_SECONDS = 600.0  # a pod that failed longer ago is not what holds those that are there now


def explain(pods: Iterable[Body], events: Iterable[Body]) -> Explanation | None:
    """Return why pods are not ready: what a container said before what the scheduler said."""
    events = tuple(events)
    found = [explanation for pod in pods if (explanation := explain_pod(pod, events)) is not None]
    started = [each for each in found if each.reason is not Reason.PODS_UNSCHEDULABLE]
    return next(iter(started or found), None)


def explain_pod(pod: Body, events: Iterable[Body] = ()) -> Explanation | None:
    """Return why a pod is not ready, or None where it is, or is just starting."""
    if objects.is_true(pod, "Ready"):
        return None
    containers = tuple(container_statuses(pod))
    reported = next((why for ended in failed_ends(pod) if (why := reported_failure(ended)) is not None), None)
    first = reported or _rejected(pod)
    if first:
        return first
    for status in containers:
        waiting = _waiting(status)
        if waiting:
            return waiting
    for status in containers:
        ended = terminated(status)
        if ended is not None:
            return explain_end(pod, status, ended)
    events = tuple(events)
    return (
        _claims(pod, events)
        or _unscheduled(pod)
        or _failed(pod)
        or _explained_by_events(pod, events)
        or _back_off(containers)
    )


def explain_failed(pods: Iterable[Body], now: datetime) -> Explanation | None:
    """Return why the newest of pods that failed was turned away: its node refused it, or put it out."""
    recent = [pod for pod in pods if objects.age(objects.created(pod), now) < _REPLACED_SECONDS]
    newest = max(recent, key=objects.created, default=None)
    return _rejected(newest) if newest else None


def explain_end(pod: Body, status: Body, ended: Body) -> Explanation:
    """Return why a container ended; `status` is its containerStatus, `ended` a terminated state of it."""
    reported = reported_failure(ended)
    if reported:
        return reported
    name, code = status.get("name"), ended.get("exitCode")
    if ended.get("reason") == _OUT_OF_MEMORY:
        limit = _memory_limit(pod, str(name))
        more = f"it used more memory than its limit of {limit}" if limit else "its node ran out of memory"
        return Explanation(Reason.OUT_OF_MEMORY, f"container {name} was killed: {more}")
    message = str(ended.get("message") or "").strip()
    if ended.get("reason") in _NEVER_STARTED and message:
        return Explanation(Reason.POD_CRASHED, message)
    detail = [_line(line) for line in message.splitlines()]
    return Explanation(
        Reason.POD_CRASHED,
        f"container {name} ended with exit code {code}" + (f": {detail[-1]}" if detail else ""),
    )


def reported_failure(ended: Body) -> Explanation | None:
    """Return the JobFailure of a termination message; None where it holds something else."""
    try:
        reported = JobFailure.model_validate_json(str(ended.get("message") or ""))
    except ValidationError:
        return None
    return Explanation(reported.reason, _line(reported.message))


def _line(text: str) -> str:
    """Return what a container says as one line without control characters: anything may run in it."""
    return printable(" ".join(text.split()))


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


def has_started(status: Body) -> bool:
    """Return whether a container has run at all; one that the runtime could not start has not."""
    ends = [objects.dig(status, kind, "terminated") for kind in ("state", "lastState")]
    started = [end for end in ends if end is not None and end.get("reason") not in _NEVER_STARTED]
    return bool(started) or objects.dig(status, "state", "running") is not None


def failed_ends(pod: Body) -> list[Body]:
    """Return how a pod's containers last ended, where that was a failure that still holds."""
    return [ended for status in container_statuses(pod) if (ended := terminated(status)) is not None]


def running_seconds(pod: Body, now: datetime) -> list[float]:
    """Return for how long each of a pod's containers has been running that does."""
    begun = [objects.dig(status, "state", "running", "startedAt") for status in container_statuses(pod)]
    return [objects.age(began, now) for began in begun if began]


def may_heal(ended: Body) -> bool:
    """Return whether a container ended of something that may heal by itself: a peer that is away."""
    return ended.get("exitCode") == UnavailableError.exit_code


def failed_only_of(pod: Body, exit_codes: Container[int]) -> bool:
    """Return whether a container of a pod failed, and all that did ended with one of these codes."""
    ends = failed_ends(pod)
    return bool(ends) and all(end.get("exitCode") in exit_codes for end in ends)


def waits_to_heal(pod: Body) -> bool:
    """Return whether a container of a pod that is not ready ended last of what may heal by itself."""
    return not objects.is_true(pod, "Ready") and failed_only_of(pod, (UnavailableError.exit_code,))


def healed_at(pod: Body) -> datetime | None:
    """Return when an init container ended well that had first ended of what may heal by itself."""
    times = [
        objects.parse_time(objects.dig(status, "state", "terminated", "finishedAt"))
        for status in container_statuses(pod)
        if objects.dig(status, "state", "terminated", "exitCode") == 0
        and may_heal(objects.dig(status, "lastState", "terminated") or {})
    ]
    return max((time for time in times if time is not None), default=None)


def keeps_crashing(pod: Body) -> Explanation | None:
    """Return why a container of a pod that is not ready has ended too often.

    Ends of what may heal by itself, and a lost artifact that is made again, do not count.
    """
    if objects.is_true(pod, "Ready"):
        return None
    for status in container_statuses(pod):
        ended = terminated(status)
        if ended is None or objects.number(status, "restartCount") < CRASHES:
            continue
        why = explain_end(pod, status, ended)
        if not may_heal(ended) and why.reason is not Reason.ARTIFACT_LOST:
            return why
    return None


def refused_pods(deployment: Body) -> Explanation | None:
    """Return why the Deployment's pods cannot be created: a quota, PodSecurity or another admission rule.

    Its conditions repeat the words of its ReplicaSets' events.
    """
    replicas = objects.condition(deployment, "ReplicaFailure") or {}
    progress = objects.condition(deployment, "Progressing") or {}
    if replicas.get("status") == "True":
        refused = replicas
    elif progress.get("reason") == "ReplicaSetCreateError":
        refused = progress
    else:
        return None
    message = str(refused.get("message") or "pods cannot be created")
    return Explanation(kubernetes_reasons.refusal(message), message)


def _rejected(pod: Body) -> Explanation | None:
    """Return why a pod's node refused it or put it out; the ends of its containers only follow from that."""
    if objects.dig(pod, "status", "phase") != "Failed":
        return None
    word = str(objects.dig(pod, "status", "reason") or "")
    if word:
        message = str(objects.dig(pod, "status", "message") or word)
        return Explanation(kubernetes_reasons.meaning(word, message) or Reason.POD_NOT_READY, message)
    target = objects.condition(pod, "DisruptionTarget") or {}
    if target.get("status") != "True":
        return None
    return Explanation(
        Reason.POD_EVICTED, str(target.get("message") or target.get("reason") or "the pod was evicted")
    )


def _waiting(status: Body) -> Explanation | None:
    waiting = objects.dig(status, "state", "waiting") or {}
    word, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if (
        not word or word in _STARTING or word == "CrashLoopBackOff"
    ):  # how it ended says more than that it waits
        return None
    found = kubernetes_reasons.meaning(word, message) or Reason.POD_NOT_READY
    about = f"image {status.get('image')}: {word}" if found is Reason.IMAGE_PULL_FAILED else word
    return Explanation(found, message or about)


def _back_off(containers: tuple[Body, ...]) -> Explanation | None:
    """Return that a container is in back-off whose end is not known."""
    for status in containers:
        waiting = objects.dig(status, "state", "waiting") or {}
        if waiting.get("reason") == "CrashLoopBackOff":
            return Explanation(Reason.POD_CRASHED, str(waiting.get("message") or "CrashLoopBackOff"))
    return None


def _unscheduled(pod: Body) -> Explanation | None:
    scheduled = objects.condition(pod, "PodScheduled")
    if scheduled and scheduled.get("status") == "False":
        return Explanation(
            Reason.PODS_UNSCHEDULABLE,
            str(scheduled.get("message") or scheduled.get("reason") or "no node fits"),
        )
    return None


def _failed(pod: Body) -> Explanation | None:
    if objects.dig(pod, "status", "phase") != "Failed":
        return None
    return Explanation(Reason.POD_CRASHED, str(objects.dig(pod, "status", "message") or "the pod failed"))


def _explained_by_events(pod: Body, events: tuple[Body, ...]) -> Explanation | None:
    if objects.dig(pod, "status", "phase") not in (None, "Pending", "Running"):
        return None
    return explain_events(pod, events, _moved_at(pod))


def _moved_at(pod: Body) -> float:
    """Return when a pod came a step further (POSIX seconds): what events said before no longer holds."""
    steps = [
        condition.get("lastTransitionTime")
        for kind in ("PodScheduled", "PodReadyToStartContainers")
        if (condition := objects.condition(pod, kind)) and condition.get("status") == "True"
    ]
    steps += [objects.dig(status, "state", "running", "startedAt") for status in container_statuses(pod)]
    return max((time.timestamp() for each in steps if (time := objects.parse_time(each))), default=0.0)


def _claims(pod: Body, events: tuple[Body, ...]) -> Explanation | None:
    """Return why a claim is not bound that a pod waits for before it has a node."""
    scheduled = objects.condition(pod, "PodScheduled")
    if objects.is_true(pod, "PodScheduled") or not waits_for_claims(pod, scheduled):
        return None
    return next((why for name in claims_of(pod) if (why := explain_claim(name, events)) is not None), None)


def waits_for_claims(pod: Body, scheduled: Body | None) -> bool:
    """Return whether the scheduler says so, or has not said anything yet."""
    message = str((scheduled or {}).get("message") or "").lower()
    return bool(claims_of(pod)) and (scheduled is None or "persistentvolumeclaim" in message)


def claims_of(pod: Body) -> tuple[str, ...]:
    """Return the names of the PersistentVolumeClaims that a pod mounts, those of its own included."""
    names = []
    for volume in objects.items(pod, "spec", "volumes"):
        claim = objects.dig(volume, "persistentVolumeClaim", "claimName")
        if claim:
            names.append(str(claim))
        elif objects.dig(volume, "ephemeral") is not None:
            names.append(f"{objects.name_of(pod)}-{volume.get('name')}")
    return tuple(names)


def _memory_limit(pod: Body, container: str) -> str | None:
    """Return the memory limit of a container, or of its pod."""
    for kind in ("containers", "initContainers"):
        for own in objects.items(pod, "spec", kind):
            limit = objects.dig(own, "resources", "limits", "memory")
            if own.get("name") == container and limit:
                return str(limit)
    whole = objects.dig(pod, "spec", "resources", "limits", "memory")
    return str(whole) if whole else None
