"""Checks that the indexes hold no object that is gone, by listing metadata. Reads only.

A watch that was away while an object was deleted, and could not resume, leaves the object in Kopf's index
for ever. Such a ghost ends the process: its restart builds the indexes anew, better than any repair code.
This module must not import kopf.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from modelpress.controllers.resources import WATCHED, Resource
from modelpress.controllers.rest import Request, Rest
from modelpress.controllers.store import Store

logger = logging.getLogger(__name__)

_PAGE = 500  # items of one answer


class GhostFound(Exception):
    """An index holds an object that does not exist."""


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
        self.succeeded = time.monotonic()  # when all lists last succeeded
        self.rounds = 0

    async def run(self, interval: float) -> None:
        """Compare every `interval` seconds, until cancelled. Raises GhostFound."""
        while True:
            await asyncio.sleep(interval)
            try:
                await self.compare()
            except GhostFound:
                raise
            except Exception as error:
                logger.warning("resync failed: %s", error)

    async def compare(self) -> None:
        """List every kind once. Raises GhostFound."""
        for resource in WATCHED:
            before = self._store.uids(resource.kind)
            listed = await asyncio.to_thread(self._list, resource)
            indexed = before & self._store.uids(resource.kind)
            ghosts = self._suspicion.ghosts(resource.kind, indexed, listed)
            if ghosts:
                raise GhostFound(f"the index holds {resource.kind} objects that are gone: {sorted(ghosts)}")
        self.succeeded = time.monotonic()
        self.rounds += 1

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
