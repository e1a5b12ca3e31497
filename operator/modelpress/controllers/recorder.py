"""How an event about a ModelDeployment is written."""

import uuid
from datetime import datetime
from typing import Any

from modelpress.api.names import FIELD_MANAGER
from modelpress.planning.children.objects import format_time
from modelpress.planning.types import Body, EventNote

_MESSAGE_LIMIT = 1024  # characters of an Event's message


def event_body(resource: Body, event: EventNote, now: datetime) -> dict[str, Any]:
    """Return the Event to create that tells of something about a ModelDeployment."""
    metadata = resource["metadata"]
    moment = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{_suffix(resource, event)}",
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
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:_MESSAGE_LIMIT],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": f"modelpress.dev/{FIELD_MANAGER}",
        "reportingInstance": "",
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _suffix(resource: Body, event: EventNote) -> str:
    """Return the end of an Event's name, which the API server takes once.

    It is the same for what follows from the same version of the ModelDeployment, whoever tells it and however
    often; for one that is to be written once in all versions.
    """
    metadata = resource["metadata"]
    told = [event.reason] if event.once else [event.reason, event.message, metadata["resourceVersion"]]
    return uuid.uuid5(uuid.NAMESPACE_OID, "/".join([metadata["uid"], *told])).hex[:16]
