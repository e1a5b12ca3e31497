"""Keeps the store equal to the owned objects of the cluster: a list, then a watch from its version.

Kopf's watch carries the ModelDeployments. Of the owned kinds there are many more objects, for each of which
it would keep a worker and a memory, and it ends where a stream tells of an error.
`kubernetes.informer` lists all objects in one answer and keeps them whole.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from urllib3.exceptions import HTTPError, ReadTimeoutError

from modelpress.controllers.lists import pages, selection, whole
from modelpress.controllers.resources import MODEL_DEPLOYMENT, WATCHED, Resource
from modelpress.controllers.rest import ApiError, Request, Rest
from modelpress.controllers.store import Store
from modelpress.planning.backoff import pause
from modelpress.planning.types import Key

logger = logging.getLogger(__name__)

_STREAM_SECONDS = 300  # then the server ends a watch, and the next goes on from its version
SILENT_SECONDS = 70.0  # the server sends a bookmark each minute: a silent connection is dead
_PAUSES = (0.2, 15.0)  # seconds after the first failure, and at most; doubled each time
_FAILURES_TO_LIST_ANEW = 3  # in a row: a version of another history, such as before a restored backup
_GONE = 410
_POLL_SECONDS = 0.05

Changed = Callable[[Key], object]


class Reflector:
    """One kind of objects in one namespace, or in all (None)."""

    def __init__(
        self,
        rest: Rest,
        resource: Resource,
        namespace: str | None,
        store: Store,
        page_at_once: threading.Lock,
    ) -> None:
        """`page_at_once` is shared by reflectors whose pages must not fill the memory together."""
        self._rest = rest
        self._resource = resource
        self._namespace = namespace
        self._store = store
        self._page_at_once = page_at_once
        self._version: str | None = None  # from which to watch; None: list first
        self.listed = threading.Event()  # the store has held all objects once

    def run(self, changed: Changed, stopped: threading.Event) -> None:
        """List and watch until stopped; `changed` is called after each change of the store."""
        failures = 0
        while not stopped.is_set():
            try:
                if self._version is None:
                    self._list(changed)
                for event in self._events():
                    failures = 0
                    self._take(event, changed)
                    if stopped.is_set():
                        return
            except ReadTimeoutError:
                logger.debug("the watch of %s was silent", self._resource.plural)
            except Exception as error:  # whatever comes on the wire: this thread must not end
                failures += 1
                if failures >= _FAILURES_TO_LIST_ANEW or getattr(error, "status", None) == _GONE:
                    self._version = None
                unexpected = not isinstance(error, ApiError | HTTPError | OSError | ValueError)
                logger.warning("watch of %s: %s", self._resource.plural, error, exc_info=unexpected)
                stopped.wait(pause(*_PAUSES, failures))

    def _list(self, changed: Changed) -> None:
        """Put all objects into the store, and remove those that it held before and that are gone."""
        before = {
            uid
            for uid, (key, _) in self._store.all_of(self._resource.kind).items()
            if self._namespace in (None, key.namespace)
        }
        version = None
        listing = pages(self._rest, Request("list", self._resource, self._namespace))
        while True:
            with self._page_at_once:
                page = next(listing, None)
                for item in (page or {}).get("items") or ():
                    before.discard(item["metadata"]["uid"])
                    _tell(changed, self._store.put(whole(item, self._resource), trusted=True))
                if page is None:
                    break
                version = version or page["metadata"]["resourceVersion"]
        for uid in before:
            _tell(changed, self._store.remove(uid))
        self._version = version
        self.listed.set()

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of one watch. Raises ApiError where one tells of an error."""
        query = {
            **selection(self._resource),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": str(_STREAM_SECONDS),
        }
        request = Request("watch", self._resource, self._namespace, query=query)
        for line in self._rest.lines(request, silent_seconds=SILENT_SECONDS):
            event: dict[str, Any] = json.loads(line)
            if event["type"] == "ERROR":
                told = event["object"]
                raise ApiError(told.get("code", 0), told.get("reason", ""), told.get("message", ""))
            yield event

    def _take(self, event: dict[str, Any], changed: Changed) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            _tell(changed, self._store.remove(body["metadata"]["uid"]))
        elif event["type"] != "BOOKMARK":
            _tell(changed, self._store.put(whole(body, self._resource)))
        self._version = body["metadata"]["resourceVersion"]


class Reflectors:
    """All reflectors, each in a thread of its own from `start` until the block ends."""

    def __init__(self, rest: Rest, store: Store, namespaces: Sequence[str]) -> None:
        """No `namespaces` means all."""
        each_of: Sequence[str | None] = namespaces or [None]
        owned = [resource for resource in WATCHED if resource is not MODEL_DEPLOYMENT]
        self._stopped, page_at_once = threading.Event(), threading.Lock()
        self._reflectors = [
            Reflector(rest, resource, namespace, store, page_at_once)
            for resource in owned
            for namespace in each_of
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()  # a thread that waits for an event ends with the process: it only reads

    def start(self, changed: Changed) -> None:
        """List and watch; `changed` is called in other threads."""
        for each in self._reflectors:
            threading.Thread(
                target=each.run, args=(changed, self._stopped), name="reflector", daemon=True
            ).start()

    async def listed(self) -> None:
        """Return when the store has held all objects."""
        while not all(each.listed.is_set() for each in self._reflectors):
            await asyncio.sleep(_POLL_SECONDS)


def _tell(changed: Changed, keys: tuple[Key, ...]) -> None:
    for key in keys:
        changed(key)
