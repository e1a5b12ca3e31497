"""Which compression Jobs hold a slot, and whose turn it is when one is free. No I/O.

A Job holds a slot from its creation by us until it has ended, been suspended or removed. It must have come to
a node within a minute: one that no node takes, a quota forbids or a queue holds back keeps nobody waiting. No
namespace has more than its share. First is who has waited longest, of those whose namespace has a slot left.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from modelpress.controllers.resources import JOB, POD
from modelpress.controllers.store import Store
from modelpress.planning.types import Key

PLACED_SECONDS = 60.0  # from its creation until the pod of a Job must have a node
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0  # seconds between the looks of one that waits
_PAUSE_OF_EACH = 0.05  # more, for each that waits before it in its namespace
_FORGOTTEN_SECONDS = 2 * _LONGEST_PAUSE  # one that has not looked for so long waits no more


class JobId(NamedTuple):
    """A compression Job; names are unique in a namespace."""

    key: Key  # its ModelDeployment
    name: str


class Standing(NamedTuple):
    """What the watches show of compression Jobs."""

    at: float  # when this was looked at
    holding: frozenset[JobId] = frozenset()  # those that run, or did, and have not ended
    pending: frozenset[JobId] = frozenset()  # those of which no pod has come to a node yet
    over: frozenset[JobId] = frozenset()  # those of ours that have ended, are suspended or go away


class Turn(NamedTuple):
    """What one ModelDeployment is told."""

    slots: int  # Jobs that it may start now
    pause: float  # seconds until it should look again if it may not


@dataclass(frozen=True)
class Limits:
    """How many Jobs may run."""

    total: int
    per_namespace: int


def standing(store: Store, reserved: Iterable[JobId], at: float) -> Standing:
    """Return what the Jobs and pods of a store mean for the slots."""
    holding: set[JobId] = set()
    pending: set[JobId] = set()
    for key, name in store.running_jobs():
        entries = store.of(key)
        placed = {pod.owner for pod in entries[POD.kind] if pod.placed}
        holds = any(job.ours and job.uid in placed for job in entries[JOB.kind] if job.name == name)
        (holding if holds else pending).add(JobId(key, name))
    others = (job for job in reserved if job not in holding and job not in pending)
    over = {job for job in others if any(job.name == entry.name for entry in store.of(job.key)[JOB.kind])}
    return Standing(at, frozenset(holding), frozenset(pending), frozenset(over))


class JobSlots:
    """Reservations and the queue; safe to use from several threads, and never locked for long."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._reserved: dict[JobId, float] = {}  # Jobs of ours, and when they were made
        self._shown: set[JobId] = set()  # those of them that the watch has shown
        self._waiting: dict[Key, tuple[str, float]] = {}  # since when, and when it last said so

    def turn(self, key: Key, seen: Standing) -> Turn:
        """Return how many Jobs a ModelDeployment may start now, and when to ask again."""
        with self._lock:
            before = self._before(key)
            mine = sum(other.namespace == key.namespace for other in before)
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE + _PAUSE_OF_EACH * mine)
            return Turn(self._free(key, before, seen), pause)

    def reserve(self, job: JobId, seen: Standing) -> bool:
        """Take a slot for a Job that is about to be created; return False where there is none."""
        with self._lock:
            if self._free(job.key, self._before(job.key), seen) < 1:
                return False
            self._reserved[job] = self._clock()
            self._shown.discard(job)
            self._waiting.pop(job.key, None)
            return True

    def reserved(self) -> frozenset[JobId]:
        """Return the Jobs that hold a slot because we have just made them."""
        with self._lock:
            return frozenset(self._reserved)

    def release(self, namespace: str, name: str) -> None:
        """Give a slot back: the Job of this name could not be created, is suspended, or was removed."""
        with self._lock:
            for job in [job for job in self._reserved if (job.key.namespace, job.name) == (namespace, name)]:
                del self._reserved[job]

    def leave(self, key: Key) -> None:
        """Note that a ModelDeployment is gone, and its Jobs with it."""
        with self._lock:
            self._waiting.pop(key, None)
            self._reserved = {job: made for job, made in self._reserved.items() if job.key != key}

    def wait(self, key: Key, since: str | None) -> None:
        """Note that a ModelDeployment waits since a time (RFC 3339), or that it does not."""
        with self._lock:
            if since is None:
                self._waiting.pop(key, None)
            else:
                self._waiting[key] = since, self._clock()

    def _free(self, key: Key, before: list[Key], seen: Standing) -> int:
        """Return the slots that are left for one after those before it."""
        held = seen.holding | self._held_by_reservation(seen)
        free = self._limits.total - len(held)
        used = Counter(job.key.namespace for job in held)
        for other in before:
            if free < 1:
                break
            if used[other.namespace] < self._limits.per_namespace:
                used[other.namespace] += 1
                free -= 1
        return max(0, min(free, self._limits.per_namespace - used[key.namespace]))

    def _held_by_reservation(self, seen: Standing) -> set[JobId]:
        """Forget the Jobs that ended or went, or came to no node in time; return those that are left."""
        now, alive = self._clock(), seen.holding | seen.pending
        for job, made in list(self._reserved.items()):
            is_newer = seen.at > made
            is_over = is_newer and job not in alive and (job in seen.over or job in self._shown)
            if is_over or now - made > PLACED_SECONDS:
                del self._reserved[job]
            elif is_newer and job in alive:
                self._shown.add(job)
        self._shown &= self._reserved.keys()
        return set(self._reserved)

    def _before(self, key: Key) -> list[Key]:
        """Return those that wait for longer; all of them for one that does not wait yet."""
        now = self._clock()
        for other, (_, said) in list(self._waiting.items()):
            if now - said > _FORGOTTEN_SECONDS:
                del self._waiting[other]
        ordered = sorted((since, other) for other, (since, _) in self._waiting.items())
        mine = self._waiting.get(key)
        return [other for since, other in ordered if mine is None or (since, other) < (mine[0], key)]
