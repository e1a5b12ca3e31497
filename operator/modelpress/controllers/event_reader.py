"""Reads the events that explain what a status does not: asked for where needed, never watched."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime

from modelpress.controllers.lists import whole
from modelpress.controllers.resources import EVENT
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.planning.problems.waiting import LOOK_AGAIN_SECONDS, Subject, unexplained
from modelpress.planning.types import Body

logger = logging.getLogger(__name__)


class EventReader:
    """Remembers for some seconds what was said of an object; used from several threads."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._said: dict[Subject, tuple[float, tuple[Body, ...]]] = {}  # when asked, what was said

    def about(self, jobs: Sequence[Body], pods: Sequence[Body], now: datetime) -> tuple[Body, ...]:
        """Return the events of objects whose status does not tell why they wait. Raises ApiError."""
        return tuple(event for subject in unexplained(jobs, pods, now) for event in self._events_of(subject))

    def _events_of(self, subject: Subject) -> tuple[Body, ...]:
        asked = time.monotonic()
        for known_subject, (before, _) in list(self._said.items()):
            if asked - before > LOOK_AGAIN_SECONDS:
                self._said.pop(known_subject, None)
        known = self._said.get(subject)
        if known is None:
            request = Request("list", EVENT, subject.namespace, query={"fieldSelector": subject.selector})
            known = asked, self._listed(request)
            self._said[subject] = known
        return known[1]

    def _listed(self, request: Request) -> tuple[Body, ...]:
        """Return events; none without the right to list them: the loop goes on, with fewer words."""
        try:
            items = self._rest.send(request).get("items") or ()
        except ApiError as error:
            if error.status != 403:
                raise
            logger.warning("events not read: %s", error, extra={"namespace": request.namespace})
            return ()
        return tuple(whole(item, EVENT) for item in items)
