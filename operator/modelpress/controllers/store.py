"""What the watches last showed: compressed bodies in Kopf's indexes, read by key.

Bodies are kept compressed, with managedFields only where they are asked for: 30,000 raw ones would fill a
gigabyte. All methods of
`Store` must be called on the event loop, which alone changes the indexes; `unpack` may run anywhere.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelpress.api.names import NAME_LABEL
from modelpress.controllers.resources import APPLIED, JOB, MODEL_DEPLOYMENT
from modelpress.planning.artifacts import jobs
from modelpress.planning.children import objects
from modelpress.planning.children.managed_fields import slim
from modelpress.planning.types import Body, Key

# An index: key -> entries of one kind. Kopf's own type, as a protocol of what is used of it.
Index = Mapping[Key, Iterable["Entry"]]


@dataclass(frozen=True, slots=True)
class Entry:
    """An object, with what is asked of many objects at once beside the compressed whole."""

    name: str
    uid: str
    version: int  # resourceVersion: opaque to users, but an ordered number for the same kind of object
    terminating: bool
    finished: bool  # a Job is Complete or Failed
    suspended: bool  # the queue of a Job lets it run later
    data: bytes


def owner_key(body: Body) -> Key | None:
    """Return the ModelDeployment that an object is or belongs to by its label, or None."""
    metadata = body["metadata"]
    if body.get("kind") == MODEL_DEPLOYMENT.kind:
        return Key(metadata["namespace"], metadata["name"])
    owner = (metadata.get("labels") or {}).get(NAME_LABEL)
    # an empty label is one: a list by the label finds its object as well
    return Key(metadata["namespace"], owner) if owner is not None else None


def pack(body: Body) -> Entry:
    """Return an object as it is kept."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    if body.get("kind") in APPLIED:
        metadata["managedFields"] = slim(body["metadata"].get("managedFields"))
    data = json.dumps({**body, "metadata": metadata}, separators=(",", ":")).encode()
    return Entry(
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        terminating=objects.deleting(body),
        finished=jobs.is_finished(body),
        suspended=jobs.is_suspended(body),
        data=zlib.compress(data, 1),
    )


def unpack(entry: Entry) -> dict[str, Any]:
    """Return the object."""
    body: dict[str, Any] = json.loads(zlib.decompress(entry.data))
    return body


class Store:
    """Reads of the indexes."""

    def __init__(self) -> None:
        self._indexes: Mapping[str, Index] = {}

    def bind(self, indexes: Mapping[str, Index]) -> None:
        """Use these indexes, one for each watched kind."""
        self._indexes = indexes

    def of(self, key: Key) -> dict[str, tuple[Entry, ...]]:
        """Return the entries of a ModelDeployment by kind, itself among them."""
        return {kind: tuple(index[key]) if key in index else () for kind, index in self._indexes.items()}

    def uids(self, kind: str) -> frozenset[str]:
        """Return the UIDs of all objects of a kind; none before the watches begin."""
        index = self._indexes.get(kind, {})
        return frozenset(entry.uid for key in index for entry in index[key])

    def owner_of(self, kind: str, uid: str) -> Key | None:
        """Return the ModelDeployment of the object with this UID, or None where it is not known."""
        index = self._indexes[kind]
        return next((key for key in index for entry in index[key] if entry.uid == uid), None)

    def running_jobs(self) -> frozenset[tuple[Key, str]]:
        """Return the ModelDeployment and name of every Job that has not finished and may have pods."""
        index = self._indexes[JOB.kind]
        return frozenset(
            (key, entry.name)
            for key in index
            for entry in index[key]
            if not (entry.finished or entry.suspended or entry.terminating)
        )
