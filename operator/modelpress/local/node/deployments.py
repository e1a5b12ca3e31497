"""What a Deployment does next and says of itself: the rules of the real controller. Pure.

Rules: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelpress.api.identity import digest
from modelpress.local.node.podstatus import timestamp
from modelpress.planning.children import objects
from modelpress.planning.types import Body

HASH_LABEL = "pod-template-hash"


@dataclass(frozen=True)
class Scaling:
    """Pods to start from the current template, and names of pods to stop."""

    start: int
    stop: tuple[str, ...]


def template_hash(deployment: Body) -> str:
    """Return what tells pods of the current template from older ones."""
    return digest(deployment["spec"]["template"])[:10]


def scale(deployment: Body, pods: Sequence[Body]) -> Scaling:
    """Return the next step of a Deployment; `pods` are all of its pods, the ending ones included."""
    desired = int(deployment["spec"].get("replicas", 1))
    alive = [pod for pod in pods if not objects.deleting(pod)]
    new, old = _split(deployment, alive)
    if _recreates(deployment):
        gone = len(alive) == len(pods) and not old
        return Scaling(max(0, desired - len(new)) if gone else 0, (*_names(old), *_surplus(new, desired)))
    surge, unavailable = bounds(deployment)
    start = max(0, min(desired - len(new), desired + surge - len(alive)))
    return Scaling(start, (*_surplus(new, desired), *_outdated(new, old, desired - unavailable)))


def bounds(deployment: Body) -> tuple[int, int]:
    """Return maxSurge (a percentage is rounded up) and maxUnavailable (rounded down) in pods."""
    desired = int(deployment["spec"].get("replicas", 1))
    if _recreates(deployment):
        return 0, desired
    rolling = objects.dig(deployment, "spec", "strategy", "rollingUpdate") or {}
    surge = math.ceil(_share(rolling.get("maxSurge", "25%"), desired))
    unavailable = min(desired, math.floor(_share(rolling.get("maxUnavailable", "25%"), desired)))
    return surge, unavailable if surge or unavailable else min(1, desired)


def status(deployment: Body, pods: Sequence[Body], now: datetime) -> dict[str, Any]:
    """Return the status of a Deployment; its own last status tells whether there was progress."""
    alive = [pod for pod in pods if not objects.deleting(pod)]
    new, _ = _split(deployment, alive)
    ready = sum(_ready(pod) for pod in alive)
    counts = {
        "observedGeneration": objects.number(deployment, "metadata", "generation"),
        "replicas": len(alive),
        "updatedReplicas": len(new),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, int(deployment["spec"].get("replicas", 1)) - ready),
    }
    return {
        **counts,
        "conditions": [_available(deployment, ready, now), _progressing(deployment, counts, now)],
    }


def _split(deployment: Body, pods: Sequence[Body]) -> tuple[list[Body], list[Body]]:
    current = template_hash(deployment)
    new = [pod for pod in pods if objects.label(pod, HASH_LABEL) == current]
    return new, [pod for pod in pods if objects.label(pod, HASH_LABEL) != current]


def _recreates(deployment: Body) -> bool:
    return bool(objects.dig(deployment, "spec", "strategy", "type") == "Recreate")


def _share(value: int | str, desired: int) -> float:
    return desired * int(value.removesuffix("%")) / 100 if isinstance(value, str) else value


def _ready(pod: Body) -> bool:
    return objects.is_true(pod, "Ready")


def _names(pods: Sequence[Body]) -> list[str]:
    return [objects.name_of(pod) for pod in pods]


def _surplus(new: Sequence[Body], desired: int) -> list[str]:
    least_useful_first = sorted(new, key=_ready)
    return _names(least_useful_first[: max(0, len(new) - desired)])


def _outdated(new: Sequence[Body], old: Sequence[Body], least: int) -> list[str]:
    """Return old pods that may end now: `least` pods must stay available."""
    starting = sum(not _ready(pod) for pod in new)
    room = len(new) + len(old) - least - starting
    broken = [pod for pod in old if not _ready(pod)][: max(0, room)]
    available = sum(map(_ready, [*new, *old]))
    serving = [pod for pod in old if _ready(pod)]
    return _names([*broken, *serving[: max(0, available - least)]])


def _available(deployment: Body, ready: int, now: datetime) -> dict[str, Any]:
    least = int(deployment["spec"].get("replicas", 1)) - bounds(deployment)[1]
    enough = ready >= least
    has = "has" if enough else "does not have"
    return _condition(
        deployment,
        {
            "type": "Available",
            "status": "True" if enough else "False",
            "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "message": f"Deployment {has} minimum availability.",
        },
        now,
    )


def _progressing(deployment: Body, counts: dict[str, int], now: datetime) -> dict[str, Any]:
    before = objects.condition(deployment, "Progressing") or {}
    name = objects.name_of(deployment)
    desired = int(deployment["spec"].get("replicas", 1))
    done = all(counts[key] == desired for key in ("replicas", "updatedReplicas", "availableReplicas"))
    new_rollout = counts["observedGeneration"] != objects.number(deployment, "status", "observedGeneration")
    settled = before.get("reason") == "NewReplicaSetAvailable" and not new_rollout
    content = {"type": "Progressing", "status": "True"}
    if done or settled:
        content |= {"reason": "NewReplicaSetAvailable", "message": f'"{name}" has successfully progressed.'}
        return _condition(deployment, content, now)
    if new_rollout or not before or _progressed(deployment, counts):
        content |= {"reason": "ReplicaSetUpdated", "message": f'"{name}" is progressing.'}
        return _condition(deployment, content, now) | {"lastUpdateTime": timestamp(now)}
    deadline = int(deployment["spec"].get("progressDeadlineSeconds", 600))
    if objects.age(before.get("lastUpdateTime"), now) < deadline:
        return dict(before)
    content |= {
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": f'"{name}" has timed out progressing.',
    }
    return _condition(deployment, content, now)


def _progressed(deployment: Body, counts: dict[str, int]) -> bool:
    def before(key: str) -> int:
        return objects.number(deployment, "status", key)

    old_pods = before("replicas") - before("updatedReplicas")
    return (
        any(counts[key] > before(key) for key in ("updatedReplicas", "readyReplicas", "availableReplicas"))
        or counts["replicas"] - counts["updatedReplicas"] < old_pods
    )


def _condition(deployment: Body, content: dict[str, str], now: datetime) -> dict[str, Any]:
    before = objects.condition(deployment, content["type"]) or {}
    same = all(before.get(key) == value for key, value in content.items())
    moved = before.get("status") != content["status"]
    return {
        **content,
        "lastUpdateTime": before.get("lastUpdateTime") if same else timestamp(now),
        "lastTransitionTime": timestamp(now) if moved else before.get("lastTransitionTime"),
    }
