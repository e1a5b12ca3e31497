"""Which objects' events tell more than their status, and how an event is written. Pure.

A missing Secret volume or a sandbox that cannot be made shows in a pod's status only as ContainerCreating, a
quota that refuses a Job's pods in no status at all: the reason is in the events. What refuses a Deployment's
pods stands in its conditions. This module must not import kopf or kubernetes.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from modelpress.api.names import FIELD_MANAGER
from modelpress.planning import objects
from modelpress.planning.jobs import is_suspended
from modelpress.planning.reasons import claims_of
from modelpress.planning.types import Body, EventNote
from modelpress.planning.waiting import is_unexplained

WAIT_SECONDS = 10  # what is younger may simply be starting
_MOST_OBJECTS = 3  # of one owner: its pods wait for the same thing
_MESSAGE_LIMIT = 1024  # characters of an Event's message


class Subject(NamedTuple):
    """What to list the events of."""

    namespace: str
    selector: str  # fieldSelector


def unexplained(jobs: Iterable[Body], pods: Iterable[Body], now: datetime) -> list[Subject]:
    """Return pods that wait for something their status does not tell, the claims that those mount before they
    have a node, and Jobs that wait for a pod.
    """
    pods = tuple(pods)
    waiting = _first_of_each_owner([pod for pod in pods if is_unexplained(pod, now)])
    served = {
        reference["uid"]
        for pod in pods
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        for reference in pod["metadata"].get("ownerReferences", ())
    }
    idle = [
        job
        for job in jobs
        if not (_ended(job) or is_suspended(job)) and job["metadata"]["uid"] not in served and _old(job, now)
    ]
    claims = [claim for pod in waiting if not objects.is_true(pod, "PodScheduled") for claim in _claims(pod)]
    return [*map(_by_uid, idle + waiting), *dict.fromkeys(claims[:_MOST_OBJECTS])]


def _first_of_each_owner(pods: list[Body]) -> list[Body]:
    """Return a few pods of each Job and ReplicaSet, always the same ones."""
    of_owner: dict[Any, list[Body]] = {}
    for pod in sorted(pods, key=objects.name_of):
        of_owner.setdefault((objects.controller(pod) or {}).get("uid"), []).append(pod)
    return [pod for group in of_owner.values() for pod in group[:_MOST_OBJECTS]]


def _by_uid(body: Body) -> Subject:
    return Subject(body["metadata"]["namespace"], f"involvedObject.uid={body['metadata']['uid']}")


def _claims(pod: Body) -> list[Subject]:
    kind = "involvedObject.kind=PersistentVolumeClaim"
    namespace = pod["metadata"]["namespace"]
    return [Subject(namespace, f"{kind},involvedObject.name={name}") for name in claims_of(pod)]


def event_body(resource: Body, note: EventNote, now: datetime) -> dict[str, Any]:
    """Return the Event to create for a note about a ModelDeployment."""
    metadata = resource["metadata"]
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{_told_apart(resource, note)}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:_MESSAGE_LIMIT],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": f"modelpress.dev/{FIELD_MANAGER}",
        "reportingInstance": "",
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _told_apart(resource: Body, note: EventNote) -> str:
    """Return the end of an Event's name: the same for notes that are to be told once."""
    if not note.once:
        return uuid.uuid4().hex[:16]
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{resource['metadata']['uid']}/{note.reason}").hex[:16]


def _ended(job: Body) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return "deletionTimestamp" in job["metadata"] or any(
        item["type"] in ("Complete", "Failed") and item["status"] == "True" for item in conditions
    )


def _old(body: Body, now: datetime) -> bool:
    created = datetime.fromisoformat(body["metadata"]["creationTimestamp"])
    return now - created >= timedelta(seconds=WAIT_SECONDS)
