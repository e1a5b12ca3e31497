"""Writes the Events about ModelDeployments."""

import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from urllib3.exceptions import HTTPError

from modelpress.api.names import FIELD_MANAGER
from modelpress.controllers.resources import EVENT
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.planning.children.objects import format_time
from modelpress.planning.types import Body, EventNote, Key

logger = logging.getLogger(__name__)

_MESSAGE_LIMIT = 1024  # characters of an Event's message
_PASSING = frozenset({429, 500, 502, 503, 504})  # the API server could not answer
_MOST_UNTOLD = 16  # events of one ModelDeployment


class Recorder:
    """Writes Events in their order; used from several threads, a ModelDeployment's by one at a time."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._untold: dict[Key, tuple[Body, ...]] = {}  # what the API server could not take yet

    def record(self, resource: Body, notes: tuple[EventNote, ...]) -> None:
        """Write what could not be written before, then these notes; one that is refused is only logged."""
        key = Key(resource["metadata"]["namespace"], resource["metadata"]["name"])
        late = self._untold.pop(key, ())
        due = [*late, *(event_body(resource, note, datetime.now(UTC)) for note in notes)]
        for number, body in enumerate(due):
            try:
                self._rest.send(Request("create", EVENT, key.namespace, body=body))
            except (ApiError, HTTPError) as error:
                status = error.status if isinstance(error, ApiError) else None
                if status == 409:  # it was written already
                    continue
                logger.warning("event not written: %s", error, extra={"namespace": key.namespace})
                if status is None or status in _PASSING:
                    self._untold[key] = tuple(due[number:][:_MOST_UNTOLD])
                    return

    def forget(self, key: Key) -> None:
        """Drop what was not told of a ModelDeployment that is gone."""
        self._untold.pop(key, None)


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
