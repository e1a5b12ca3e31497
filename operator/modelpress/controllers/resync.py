"""Checks that the store holds all objects as they are, and none that is gone, by lists of metadata.

Reads only. A watch can lose an event, stand still unseen, or be away while an object is deleted. What the
lists show otherwise than the store, and the watch has not mended a moment later, is read live. The operator
works (is ready) once the store held all that a list showed, and while lists succeed; where a watch stays
behind for long, the process is to be restarted.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from modelpress.controllers.lists import named, pages
from modelpress.controllers.reflector import Changed
from modelpress.controllers.resources import MODEL_DEPLOYMENT, WATCHED, Resource
from modelpress.controllers.rest import Request, Rest
from modelpress.controllers.store import Entry, Store
from modelpress.planning.types import Key

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0  # seconds, between looks whether the watches have listed; doubled each time
_GRACE_SECONDS = 1.0  # in which a watch shows what a list showed before it
_FAILED_SECONDS = 300.0  # of lists or of a watch; then the process is as good as dead
_MOST_READS = 500  # in one round; the next goes on


@dataclass(frozen=True)
class Listed:
    """An object as a list of metadata shows it."""

    namespace: str
    name: str
    version: int


class _Behind(Exception):
    """A watch has not shown all objects yet."""


def behind(
    listed: dict[str, Listed], before: dict[str, tuple[Key, Entry]], after: dict[str, tuple[Key, Entry]]
) -> dict[str, Listed]:
    """Return what a list shows otherwise than the store, by UID. Pure.

    `before` and `after` are the objects of the store before the list and some time after it.
    """
    found = {}
    for uid, item in listed.items():
        held = after.get(uid)
        if (
            held is None
            or held[1].version < item.version
            or _from_another_history(item, before.get(uid), held)
        ):
            found[uid] = item
    for uid, (key, entry) in before.items():
        if uid not in listed and uid in after:
            found[uid] = Listed(key.namespace, entry.name, entry.version)
    return found


def _from_another_history(item: Listed, before: tuple[Key, Entry] | None, after: tuple[Key, Entry]) -> bool:
    """Return whether the store held a newer version than exists: a backup of the cluster was restored."""
    return before is not None and before[1].version == after[1].version > item.version


class Resync:
    """Compares the store with lists, again and again."""

    def __init__(self, rest: Rest, store: Store, namespaces: Sequence[str]) -> None:
        """No `namespaces` means all."""
        self._rest = rest
        self._store = store
        self._namespaces: Sequence[str | None] = namespaces or [None]
        self._problem: str | None = "the API server does not serve ModelDeployments yet"
        self._succeeded: float | None = None  # when all lists last did; None: not begun
        self._lag: dict[str, float] = {}  # kinds that had to be mended in every round, since when
        self.rounds = 0
        self.mended = 0  # objects that were read live since a watch did not show them

    def dead(self) -> str | None:
        """Return why the process should be restarted, or None."""
        now = time.monotonic()
        begun = {} if self._succeeded is None else {"no resync has succeeded": self._succeeded}
        lagging = {f"the watch of {kind} is behind": since for kind, since in self._lag.items()}
        found = {what: now - since for what, since in {**begun, **lagging}.items()}
        late = (f"{what} for {age:.0f} seconds" for what, age in found.items() if age > _FAILED_SECONDS)
        return next(late, None)

    def unready(self) -> str | None:
        """Return why the operator does not work, or None."""
        return self._problem

    async def run(self, interval: float, changed: Changed) -> None:
        """Wait for the watches, then compare every `interval` seconds, until cancelled.

        `changed` is called on the event loop for what the watches did not show.
        """
        self._succeeded = time.monotonic()
        pause = _FIRST_PAUSE
        while not await self._succeeds(self.catch_up):
            await asyncio.sleep(min(pause, interval))
            pause *= 2
        while True:
            await asyncio.sleep(interval)
            await self._succeeds(lambda: self.compare(min(_GRACE_SECONDS, interval), changed))

    async def catch_up(self) -> None:
        """List the ModelDeployments. Raises _Behind where the store still lacks some."""
        listed = await asyncio.to_thread(self._list, MODEL_DEPLOYMENT)
        if not listed.keys() <= self._store.all_of(MODEL_DEPLOYMENT.kind).keys():
            raise _Behind(f"the watch of {MODEL_DEPLOYMENT.plural} has not listed all of them yet")

    async def compare(self, grace: float, changed: Changed) -> None:
        """List every kind once; `grace` seconds later read live what the store still holds otherwise."""
        rounds = []
        for resource in WATCHED:
            before = self._store.all_of(resource.kind)
            rounds.append((resource, before, await asyncio.to_thread(self._list, resource)))
        await asyncio.sleep(grace)
        for resource, before, listed in rounds:
            found = behind(listed, before, self._store.all_of(resource.kind))
            if found:
                self._lag.setdefault(resource.kind, time.monotonic())
            else:
                self._lag.pop(resource.kind, None)
            for uid, item in list(found.items())[:_MOST_READS]:
                for key in await asyncio.to_thread(self._mend, resource, uid, item):
                    changed(key)

    async def _succeeds(self, look: Callable[[], Awaitable[None]]) -> bool:
        """Take one look at all kinds; an error is logged and remembered."""
        try:
            await look()
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

    def _list(self, resource: Resource) -> dict[str, Listed]:
        """Return all objects of a kind by UID."""
        found = {}
        for namespace in self._namespaces:
            for page in pages(self._rest, Request("list", resource, namespace, metadata_only=True)):
                for item in page.get("items") or ():
                    metadata = item["metadata"]
                    found[metadata["uid"]] = Listed(
                        metadata["namespace"], metadata["name"], int(metadata["resourceVersion"])
                    )
        return found

    def _mend(self, resource: Resource, uid: str, item: Listed) -> tuple[Key, ...]:
        """Put an object into the store as it is now; return the ModelDeployments concerned."""
        self.mended += 1
        keys: tuple[Key, ...] = ()
        found = named(self._rest, resource, item.namespace, item.name)
        for body in found:
            keys += self._store.put(body, trusted=True)
        if all(body["metadata"]["uid"] != uid for body in found):
            keys += self._store.remove(uid)
        logger.warning("the watch of %s did not show %s/%s: read", resource.plural, item.namespace, item.name)
        return keys
