"""Which objects' events tell more than their status, and how an event is written. Pure.

A missing Secret volume shows in a pod's status only as ContainerCreating, and a quota that refuses a Job's
pods shows in no status at all: the reason is in the events. This module must not import kopf or kubernetes.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from modelpress.api.names import FIELD_MANAGER
from modelpress.planning.jobs import is_suspended
from modelpress.planning.types import Body, EventNote

WAIT_SECONDS = 10  # what is younger may simply be starting
_MOST_OBJECTS = 3  # one reason is enough; the pods of a revision wait for the same thing
_STARTING = ("ContainerCreating", "PodInitializing")
_MESSAGE_LIMIT = 1024  # characters of an Event's message


def unexplained(jobs: Iterable[Body], pods: Iterable[Body], now: datetime) -> list[Body]:
    """Return pods that wait for something their status does not tell, and Jobs that cannot make pods."""
    pods = tuple(pods)
    owners = {reference["uid"] for pod in pods for reference in pod["metadata"].get("ownerReferences", ())}
    found = [pod for pod in pods if _waits(pod) and _old(pod, now)]
    found += [
        job
        for job in jobs
        if not (_ended(job) or is_suspended(job)) and job["metadata"]["uid"] not in owners and _old(job, now)
    ]
    return found[:_MOST_OBJECTS]


def event_body(resource: Body, note: EventNote, now: datetime) -> dict[str, Any]:
    """Return the Event to create for a note about a ModelDeployment."""
    metadata = resource["metadata"]
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}",
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


def _waits(pod: Body) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") != "Pending" or "deletionTimestamp" in pod["metadata"]:
        return False
    states = [
        item.get("state") or {}
        for kind in ("initContainerStatuses", "containerStatuses")
        for item in status.get(kind) or ()
    ]
    starting = any((state.get("waiting") or {}).get("reason") in _STARTING for state in states)
    return starting and not any("running" in state for state in states)


def _ended(job: Body) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return "deletionTimestamp" in job["metadata"] or any(
        item["type"] in ("Complete", "Failed") and item["status"] == "True" for item in conditions
    )


def _old(body: Body, now: datetime) -> bool:
    created = datetime.fromisoformat(body["metadata"]["creationTimestamp"])
    return now - created >= timedelta(seconds=WAIT_SECONDS)
