"""Which pods and Jobs wait without their status telling why, so that their events are asked for. Pure."""

from collections.abc import Iterable
from datetime import datetime

from modelpress.planning import objects, reasons
from modelpress.planning.types import Body

LOOK_AGAIN_SECONDS = 10.0  # what is younger may simply be starting
_SLOW_START_SECONDS = 30.0  # a model is loaded, and the first probes fail
_LONGEST_SECONDS = 30.0  # between two looks at what waits for long: within a minute the status knows


def is_unexplained(pod: Body, now: datetime) -> bool:
    """Return whether a pod waits, for long enough, for something that only its events tell."""
    return _is_silent(pod) and _left(pod, now) <= 0


def look_again(pods: Iterable[Body], now: datetime) -> float | None:
    """Return when to look for events of pods that wait without saying why: no watch event tells."""
    waits = []
    for pod in pods:
        if _is_silent(pod):
            left = _left(pod, now)
            waits.append(left if left > 0 else min(_LONGEST_SECONDS, max(LOOK_AGAIN_SECONDS, -left / 10)))
    return min(waits, default=None)


def _left(pod: Body, now: datetime) -> float:
    """Return the seconds for which a pod may still simply be starting."""
    started = [
        objects.age(began, now)
        for status in reasons.container_statuses(pod)
        if (began := objects.dig(status, "state", "running", "startedAt"))
    ]
    if started:
        return _SLOW_START_SECONDS - min(started)
    return LOOK_AGAIN_SECONDS - objects.age(objects.dig(pod, "metadata", "creationTimestamp"), now)


def _is_silent(pod: Body) -> bool:
    if objects.is_true(pod, "Ready") or objects.deleting(pod):
        return False
    if objects.dig(pod, "status", "phase") not in (None, "Pending", "Running"):
        return False
    scheduled = objects.condition(pod, "PodScheduled")
    return reasons.explain_pod(pod) is None or (
        not objects.is_true(pod, "PodScheduled") and reasons.waits_for_claims(pod, scheduled)
    )
