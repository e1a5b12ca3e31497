"""Which pods and Jobs wait without their status telling why, so that their events are asked for. Pure.

A missing Secret volume or a sandbox that cannot be made shows in a pod's status only as ContainerCreating, a
quota that refuses a Job's pods in no status at all: the reason is in the events. What refuses a Deployment's
pods stands in its conditions.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from modelpress.planning.artifacts import jobs
from modelpress.planning.children import objects
from modelpress.planning.problems import pod_problems
from modelpress.planning.types import Body

LOOK_AGAIN_SECONDS = 10.0  # what is younger may simply be starting
_SLOW_START_SECONDS = 30.0  # a model is loaded, and the first probes fail
_LONGEST_SECONDS = 30.0  # between two looks at what waits for long: within a minute the status knows
_MOST_OBJECTS = 3  # pods of one owner: all of them wait for the same thing


class Subject(NamedTuple):
    """What to list the events of."""

    namespace: str
    selector: str  # fieldSelector


def unexplained(job_bodies: Iterable[Body], pods: Iterable[Body], now: datetime) -> list[Subject]:
    """Return pods that wait for something their status does not tell, the claims that those mount before they
    have a node, and Jobs that wait for a pod.
    """
    pods = tuple(pods)
    waiting = _first_of_each_owner([pod for pod in pods if _is_silent(pod) and not is_starting(pod, now)])
    served = {
        reference.get("uid")
        for pod in pods
        if not objects.has_ended(pod)
        for reference in objects.items(pod, "metadata", "ownerReferences")
    }
    idle = [job for job in job_bodies if objects.uid_of(job) not in served and _waits_for_pod(job, now)]
    claims = [claim for pod in waiting if not objects.is_true(pod, "PodScheduled") for claim in _claims(pod)]
    return [*map(_by_uid, idle + waiting), *dict.fromkeys(claims[:_MOST_OBJECTS])]


def is_starting(pod: Body, now: datetime) -> bool:
    """Return whether a pod may still simply be starting: its events tell of nothing that holds it yet."""
    return _left(pod, now) > 0


def look_again(pods: Iterable[Body], now: datetime) -> float | None:
    """Return when to look for events of pods that wait without saying why: no watch event tells."""
    waits = []
    for pod in pods:
        if _is_silent(pod):
            left = _left(pod, now)
            waits.append(left if left > 0 else min(_LONGEST_SECONDS, max(LOOK_AGAIN_SECONDS, -left / 10)))
    return min(waits, default=None)


def _waits_for_pod(job: Body, now: datetime) -> bool:
    if jobs.is_finished(job) or jobs.is_suspended(job) or objects.deleting(job):
        return False
    return objects.age(objects.created(job), now) >= LOOK_AGAIN_SECONDS


def _first_of_each_owner(pods: list[Body]) -> list[Body]:
    """Return a few pods of each Job and ReplicaSet, always the same ones."""
    of_owner: dict[Any, list[Body]] = {}
    for pod in sorted(pods, key=objects.name_of):
        of_owner.setdefault((objects.controller(pod) or {}).get("uid"), []).append(pod)
    return [pod for group in of_owner.values() for pod in group[:_MOST_OBJECTS]]


def _by_uid(body: Body) -> Subject:
    return Subject(body["metadata"]["namespace"], f"involvedObject.uid={objects.uid_of(body)}")


def _claims(pod: Body) -> list[Subject]:
    kind, namespace = "involvedObject.kind=PersistentVolumeClaim", pod["metadata"]["namespace"]
    names = pod_problems.claims_of(pod)
    return [Subject(namespace, f"{kind},involvedObject.name={name}") for name in names]


def _left(pod: Body, now: datetime) -> float:
    """Return the seconds for which a pod may still simply be starting."""
    running = pod_problems.running_seconds(pod, now)
    if running:
        return _SLOW_START_SECONDS - min(running)
    return LOOK_AGAIN_SECONDS - objects.age(objects.created(pod), now)


def _is_silent(pod: Body) -> bool:
    if objects.is_true(pod, "Ready") or objects.deleting(pod):
        return False
    if objects.dig(pod, "status", "phase") not in (None, "Pending", "Running"):
        return False
    scheduled = objects.condition(pod, "PodScheduled")
    return pod_problems.explain_pod(pod) is None or (
        not objects.is_true(pod, "PodScheduled") and pod_problems.waits_for_claims(pod, scheduled)
    )
