"""Memory of what had to be applied again; planning/children/repairs decides what follows from it."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta

from modelpress.api.names import APPLIED_ANNOTATION
from modelpress.planning.children import objects
from modelpress.planning.children.repairs import FORGOTTEN_SECONDS
from modelpress.planning.types import Body, Key, Repair

_Object = tuple[str, str]  # kind and name


class Repairs:
    """Memory of repairs; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._applied: dict[Key, dict[_Object, str | None]] = {}  # the hash of what was applied last
        self._repairs: dict[Key, tuple[Repair, ...]] = {}

    def applied(self, key: Key, body: Body, fields: tuple[str, ...], now: datetime) -> None:
        """Remember that an object was applied because `fields` were out of place.

        The same content again is a repair; other content is a change of ours, and begins anew.
        """
        made = Repair(body["kind"], objects.name_of(body), fields, 1, now)
        content = objects.annotation(body, APPLIED_ANNOTATION)
        with self._lock:
            known = self._applied.setdefault(key, {})
            again = known.get((made.kind, made.name)) == content
            known[made.kind, made.name] = content
            fresh = self._fresh(key, now)
            kept = tuple(each for each in fresh if again or (each.kind, each.name) != (made.kind, made.name))
            before = next((each for each in kept if each.is_of(made.kind, made.name, fields)), None)
            others = tuple(each for each in kept if each is not before)
            count = before.count + 1 if before else 1
            self._repairs[key] = (*others, replace(made, count=count)) if again and fields else others

    def of(self, key: Key, now: datetime) -> tuple[Repair, ...]:
        """Return the repairs of a ModelDeployment's children that still count."""
        with self._lock:
            fresh = self._fresh(key, now)
            if fresh:
                self._repairs[key] = fresh
            else:
                self._repairs.pop(key, None)
            return fresh

    def forget(self, key: Key) -> None:
        """Forget a ModelDeployment that is gone."""
        with self._lock:
            self._applied.pop(key, None)
            self._repairs.pop(key, None)

    def _fresh(self, key: Key, now: datetime) -> tuple[Repair, ...]:
        begin = now - timedelta(seconds=FORGOTTEN_SECONDS)
        return tuple(each for each in self._repairs.get(key, ()) if each.at > begin)
