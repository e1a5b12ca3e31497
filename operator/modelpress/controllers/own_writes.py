"""What the operator wrote and has not yet seen come back on a watch.

A plan made from an older view could undo or repeat a write: such a view is stale.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelpress.controllers.store import Entry
from modelpress.planning.types import Key

# An object that was written and at once deleted by somebody else never shows: then the view counts again.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class _Write:
    uid: str
    version: int | None  # None: a delete
    at: float

    def forgotten(self, now: float) -> bool:
        """Return whether the view counts even where it does not show this write."""
        return now - self.at > PATIENCE_SECONDS

    def seen_in(self, entries: tuple[Entry, ...], name: str) -> bool:
        """Return whether the entries of a kind show this write."""
        entry = next((entry for entry in entries if entry.name == name), None)
        if self.version is None:
            return entry is None or entry.uid != self.uid or entry.terminating
        return entry is not None and entry.version >= self.version


class OwnWrites:
    """Memory of own writes; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._writes: dict[Key, dict[tuple[str, str], _Write]] = {}
        self._vain: dict[Key, tuple[str, str]] = {}  # of the last status that changed nothing

    def wrote(self, key: Key, kind: str, name: str, uid: str, version: int) -> None:
        """Remember the version that a write returned."""
        self._remember(key, kind, name, _Write(uid, version, self._clock()))

    def deleted(self, key: Key, kind: str, name: str, uid: str) -> None:
        """Remember a delete."""
        self._remember(key, kind, name, _Write(uid, None, self._clock()))

    def in_vain(self, key: Key, version: str, status: str) -> None:
        """Remember the digest of a status that changed nothing when it was written to a version."""
        self._vain[key] = version, status

    def vain_status(self, key: Key, version: str) -> str | None:
        """Return the digest of a status that need not be written to this version of a ModelDeployment."""
        at, status = self._vain.get(key, (None, None))
        return status if at == version else None

    def forget(self, key: Key) -> None:
        """Forget the status of a ModelDeployment that is gone."""
        self._vain.pop(key, None)

    def settled(self, key: Key, view: Mapping[str, tuple[Entry, ...]]) -> bool:
        """Forget the writes that a view of a ModelDeployment shows; return whether none is left."""
        now = self._clock()
        with self._lock:
            writes = self._writes.get(key, {})
            for (kind, name), write in list(writes.items()):
                if write.seen_in(view.get(kind, ()), name) or write.forgotten(now):
                    del writes[kind, name]
            if not writes:
                self._writes.pop(key, None)
            return not writes

    def _remember(self, key: Key, kind: str, name: str, write: _Write) -> None:
        with self._lock:
            self._writes.setdefault(key, {})[kind, name] = write
