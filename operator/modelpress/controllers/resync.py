"""Checks that the indexes hold all objects, and none that is gone, by listing metadata. Reads only.

A watch that was away while an object was deleted, and could not resume, leaves the object in Kopf's index
for ever. Such a ghost ends the process: its restart builds the indexes anew, better than any repair code.
The operator works (is ready) once the indexes held all that a list showed, and while lists succeed.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from modelpress.controllers.resources import WATCHED, Resource
from modelpress.controllers.rest import Request, Rest
from modelpress.controllers.store import Store

logger = logging.getLogger(__name__)

_PAGE = 500  # items of one answer
_FIRST_PAUSE = 1.0  # seconds, between looks whether the watches have listed; doubled each time
_LISTS_FAILED_SECONDS = 300.0  # then the process is as good as dead


class GhostFound(Exception):
    """An index holds an object that does not exist."""


class _Behind(Exception):
    """A watch has not shown all objects yet."""


class Suspicion:
    """What was missing from the last list of each kind. Pure."""

    def __init__(self) -> None:
        self._suspects: dict[str, frozenset[str]] = {}

    def ghosts(self, kind: str, indexed: frozenset[str], listed: frozenset[str]) -> frozenset[str]:
        """Return the UIDs that two lists in a row lack.

        `indexed` were in the index before and after the list.
        """
        missing = indexed - listed
        found = missing & self._suspects.get(kind, frozenset())
        self._suspects[kind] = missing
        return found


class Resync:
    """Compares the indexes with lists, again and again."""

    def __init__(self, rest: Rest, store: Store, namespaces: Sequence[str]) -> None:
        """No `namespaces` means all."""
        self._rest = rest
        self._store = store
        self._namespaces: Sequence[str | None] = namespaces or [None]
        self._suspicion = Suspicion()
        self._complete: set[str] = set()  # kinds of which the index held all that a list showed, once
        self._problem: str | None = "the API server does not serve ModelDeployments yet"
        self._succeeded: float | None = None  # when all lists last did; None: they have not begun
        self.rounds = 0

    def dead(self) -> str | None:
        """Return why the process should be restarted, or None."""
        age = 0.0 if self._succeeded is None else time.monotonic() - self._succeeded
        return f"no resync has succeeded for {age:.0f} seconds" if age > _LISTS_FAILED_SECONDS else None

    def unready(self) -> str | None:
        """Return why the operator does not work, or None."""
        return self._problem

    async def run(self, interval: float) -> None:
        """Wait for the watches, then compare every `interval` seconds, until cancelled. Raises GhostFound."""
        self._succeeded = time.monotonic()
        pause = _FIRST_PAUSE
        while not await self._succeeds(self.catch_up):
            await asyncio.sleep(min(pause, interval))
            pause *= 2
        while True:
            await asyncio.sleep(interval)
            await self._succeeds(self.compare)

    async def catch_up(self) -> None:
        """List the kinds whose indexes were not complete yet. Raises _Behind where one still is not."""
        for resource in WATCHED:
            if resource.kind in self._complete:
                continue
            listed = await asyncio.to_thread(self._list, resource)
            if not listed <= self._store.uids(resource.kind):
                raise _Behind(f"the watch of {resource.plural} has not listed all of them yet")
            self._complete.add(resource.kind)

    async def compare(self) -> None:
        """List every kind once. Raises GhostFound."""
        for resource in WATCHED:
            before = self._store.uids(resource.kind)
            listed = await asyncio.to_thread(self._list, resource)
            indexed = before & self._store.uids(resource.kind)
            ghosts = self._suspicion.ghosts(resource.kind, indexed, listed)
            if ghosts:
                raise GhostFound(f"the index holds {resource.kind} objects that are gone: {sorted(ghosts)}")

    async def _succeeds(self, look: Callable[[], Awaitable[None]]) -> bool:
        """Take one look at all kinds; an error is logged and remembered. Raises GhostFound."""
        try:
            await look()
        except GhostFound:
            raise
        except _Behind as error:
            self._problem = str(error)
            self._succeeded = time.monotonic()  # the lists did
        except Exception as error:
            logger.warning("resync failed: %s", error)
            self._problem = f"resync failed: {error}"
        else:
            self._problem = None
            self._succeeded = time.monotonic()
            self.rounds += 1
        return self._problem is None

    def _list(self, resource: Resource) -> frozenset[str]:
        """Return the UIDs of all objects of a kind."""
        found: set[str] = set()
        for namespace in self._namespaces:
            query = {"limit": str(_PAGE)}
            if resource.label:
                query["labelSelector"] = resource.label
            while True:
                request = Request("list", resource, namespace, query=query, metadata_only=True)
                page = self._rest.send(request)
                found.update(item["metadata"]["uid"] for item in page.get("items") or ())
                token = page["metadata"].get("continue")
                if not token:
                    break
                query["continue"] = token
        return frozenset(found)
