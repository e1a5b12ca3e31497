"""What the watches last showed: compressed bodies, found by the ModelDeployment that they belong to.

Bodies are kept compressed and without what nothing asks for: 30,000 whole ones would fill a gigabyte. Safe to
use from several threads.
"""

import json
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

from modelpress.api.names import KIND, NAME_LABEL
from modelpress.controllers.resources import APPLIED, JOB, MODEL_DEPLOYMENT, POD, REVISION, WATCHED
from modelpress.planning.artifacts import jobs, known
from modelpress.planning.children import objects
from modelpress.planning.children.managed_fields import slim
from modelpress.planning.types import Body, Key, Known

# Of the pods of one ModelDeployment that ended, the newest tell why; Kubernetes keeps thousands of them.
_ENDED_PODS = 10
_DICTIONARY_BYTES = 32 * 1024  # zlib looks no farther back
_NAMING = (REVISION.kind, JOB.kind)  # kinds of objects that name artifacts
_VOLUME = ("name", "persistentVolumeClaim", "ephemeral")
_CONTAINER = ("name", "resources")


@dataclass(frozen=True, slots=True)
class Entry:
    """An object, with what is asked of many objects at once beside the compressed whole."""

    kind: str
    name: str
    uid: str
    version: int  # resourceVersion: opaque to users, but an ordered number for the same kind of object
    created: str
    terminating: bool
    finished: bool  # a Job is Complete or Failed, a pod has ended
    suspended: bool  # the queue of a Job lets it run later
    data: bytes
    dictionary: bytes  # what the data was compressed with
    ours: bool = False  # a ModelDeployment controls it
    owner: str | None = None  # UID of what controls it
    placed: bool = False  # a pod has a node
    artifact: Known | None = None  # what a ControllerRevision or a Job names


def owner_key(body: Body) -> Key | None:
    """Return the ModelDeployment that an object is or belongs to by its label, or None."""
    metadata = body["metadata"]
    if body.get("kind") == MODEL_DEPLOYMENT.kind:
        return Key(metadata["namespace"], metadata["name"])
    owner = (metadata.get("labels") or {}).get(NAME_LABEL)
    # an empty label is one: a list by the label finds its object as well
    return Key(metadata["namespace"], owner) if owner is not None else None


def pack(body: Body, dictionary: bytes = b"") -> Entry:
    """Return an object as it is kept; a `dictionary` holds text that the object is likely to have, too."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if body["kind"] in APPLIED:
        metadata["managedFields"] = slim(body["metadata"].get("managedFields"))
    kept = {**body, "metadata": metadata}
    owner, is_pod = objects.controller(body), body["kind"] == POD.kind
    if is_pod:
        kept["spec"] = _slim(body.get("spec") or {})
    compressor, text = zlib.compressobj(1, zdict=dictionary), json.dumps(kept, separators=(",", ":"))
    return Entry(
        kind=body["kind"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        created=objects.created(body),
        terminating=objects.deleting(body),
        finished=objects.has_ended(body) if is_pod else jobs.is_finished(body),
        suspended=jobs.is_suspended(body),
        ours=owner is not None and owner.get("kind") == KIND,
        owner=owner.get("uid") if owner else None,
        placed=bool(objects.dig(body, "spec", "nodeName")),
        artifact=known.of(kept) if body["kind"] in _NAMING else None,
        data=compressor.compress(text.encode()) + compressor.flush(),
        dictionary=dictionary,
    )


def unpack(entry: Entry) -> dict[str, Any]:
    """Return the object."""
    body: dict[str, Any] = json.loads(_text(entry))
    return body


def _text(entry: Entry) -> bytes:
    return zlib.decompressobj(zdict=entry.dictionary).decompress(entry.data)


class Store:
    """All objects that the watches showed, and not what they showed the end of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Key, dict[str, Entry]] = {}  # by UID
        self._keys: dict[str, Key] = {}  # by UID
        self._dictionaries: dict[str, bytes] = {}  # by kind
        self._running: dict[str, tuple[Key, str]] = {}  # Jobs by UID
        # by namespace and UID; what was named last is the last
        self._artifacts: dict[str, dict[str, Known]] = {}

    def put(self, body: Body, *, trusted: bool = False) -> tuple[Key, ...]:
        """Keep an object; return the ModelDeployments concerned, two where its label was changed.

        An older version than the known one changes nothing, but for one that is `trusted`, since it was read
        just now: after a backup was restored versions begin again.
        """
        key, entry = owner_key(body), pack(body, self._dictionaries.get(body["kind"], b""))
        # the first of a kind serves all others as a dictionary: their text is mostly the same
        self._dictionaries.setdefault(body["kind"], entry.dictionary or _text(entry)[-_DICTIONARY_BYTES:])
        with self._lock:
            before = self._keys.get(entry.uid)
            known = self._entries[before][entry.uid] if before is not None else None
            if known is not None and known.version > entry.version and not trusted:
                return ()
            self._drop(entry.uid)
            if key is not None:
                self._keep(key, entry)
        return tuple({each for each in (before, key) if each is not None})

    def remove(self, uid: str) -> tuple[Key, ...]:
        """Forget an object; return the ModelDeployment concerned."""
        with self._lock:
            key = self._drop(uid)
        return () if key is None else (key,)

    def of(self, key: Key) -> dict[str, tuple[Entry, ...]]:
        """Return the entries of a ModelDeployment by kind, itself among them; of ended pods the newest."""
        with self._lock:
            entries = list(self._entries.get(key, {}).values())
        found: dict[str, list[Entry]] = {resource.kind: [] for resource in WATCHED}
        for entry in entries:
            found[entry.kind].append(entry)
        found[POD.kind] = _without_old(found[POD.kind])
        return {kind: tuple(of_kind) for kind, of_kind in found.items()}

    def all_of(self, kind: str) -> dict[str, tuple[Key, Entry]]:
        """Return all objects of a kind by UID, with the ModelDeployment of each."""
        with self._lock:
            return {
                uid: (key, entry)
                for key, entries in self._entries.items()
                for uid, entry in entries.items()
                if entry.kind == kind
            }

    def owner_of(self, uid: str) -> Key | None:
        """Return the ModelDeployment of the object with this UID, or None where it is not known."""
        with self._lock:
            return self._keys.get(uid)

    def running_jobs(self) -> frozenset[tuple[Key, str]]:
        """Return the ModelDeployment and name of every Job that has not finished and may have pods."""
        with self._lock:
            return frozenset(self._running.values())

    def artifacts_of(self, namespace: str) -> tuple[Known, ...]:
        """Return artifacts that objects of a namespace name, the newest first: as many as a Job is told."""
        with self._lock:
            named = self._artifacts.get(namespace, {})
            return tuple(islice(reversed(named.values()), known.MOST))

    def _keep(self, key: Key, entry: Entry) -> None:
        self._keys[entry.uid] = key
        self._entries.setdefault(key, {})[entry.uid] = entry
        if entry.kind == JOB.kind and not (entry.finished or entry.suspended or entry.terminating):
            self._running[entry.uid] = (key, entry.name)
        if entry.artifact is not None:
            self._artifacts.setdefault(key.namespace, {})[entry.uid] = entry.artifact

    def _drop(self, uid: str) -> Key | None:
        self._running.pop(uid, None)
        key = self._keys.pop(uid, None)
        if key is not None:
            entries = self._entries[key]
            del entries[uid]
            named = self._artifacts.get(key.namespace, {})
            if named.pop(uid, None) is not None and not named:
                del self._artifacts[key.namespace]
            if not entries:
                del self._entries[key]
        return key


def _without_old(pods: Iterable[Entry]) -> list[Entry]:
    """Return the pods without those that ended long before others."""
    ended = sorted((pod for pod in pods if pod.finished), key=attrgetter("created", "name"), reverse=True)
    return [pod for pod in pods if not pod.finished] + ended[:_ENDED_PODS]


def _slim(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what planning asks of a pod's spec."""
    parts = {"volumes": _VOLUME, "containers": _CONTAINER, "initContainers": _CONTAINER}
    slim: dict[str, Any] = {
        part: [{key: item[key] for key in kept if key in item} for item in spec.get(part) or ()]
        for part, kept in parts.items()
    }
    return slim | {key: spec[key] for key in ("resources",) if key in spec}
