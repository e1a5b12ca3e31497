"""Reading Kubernetes objects: lenient, since a status may be missing or half written."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from modelpress.planning.types import Body, Ref

_MOST_COUNTED = 1_000_000


def dig(body: Any, *path: str) -> Any:
    """Return the value at a path of keys, or None."""
    for key in path:
        body = body.get(key) if isinstance(body, Mapping) else None
    return body


def items(body: Any, *path: str) -> tuple[Body, ...]:
    """Return the objects of the list at a path; empty where there is none."""
    value = dig(body, *path)
    return (
        tuple(item for item in value if isinstance(item, Mapping)) if isinstance(value, list | tuple) else ()
    )


def number(body: Any, *path: str) -> int:
    """Return the integer at a path; Kubernetes leaves out zeros."""
    value = dig(body, *path)
    return value if isinstance(value, int) else 0


def name_of(body: Body) -> str:
    """Return metadata.name."""
    return str(dig(body, "metadata", "name") or "")


def uid_of(body: Body) -> str:
    """Return metadata.uid, or an empty string before the object exists."""
    return str(dig(body, "metadata", "uid") or "")


def created(body: Body) -> str:
    """Return metadata.creationTimestamp, or an empty string before the object exists."""
    return str(dig(body, "metadata", "creationTimestamp") or "")


def label(body: Any, key: str) -> str | None:
    """Return a label's value."""
    value = dig(body, "metadata", "labels", key)
    return str(value) if value is not None else None


def annotation(body: Body, key: str) -> str | None:
    """Return an annotation's value."""
    value = dig(body, "metadata", "annotations", key)
    return str(value) if value is not None else None


def count(body: Body, key: str) -> int:
    """Return the number that an annotation holds, a million at most; people may edit it: else 0."""
    text = annotation(body, key) or ""
    return min(int(text), _MOST_COUNTED) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def deleting(body: Body) -> bool:
    """Return whether the object is being deleted."""
    return dig(body, "metadata", "deletionTimestamp") is not None


def has_ended(pod: Body) -> bool:
    """Return whether a pod has ended."""
    return dig(pod, "status", "phase") in ("Succeeded", "Failed")


def controller(body: Body) -> Body | None:
    """Return the owner reference of the object's controller."""
    references = items(body, "metadata", "ownerReferences")
    return next((reference for reference in references if reference.get("controller")), None)


def condition(body: Body, kind: str) -> Body | None:
    """Return the condition of a type."""
    return next((entry for entry in items(body, "status", "conditions") if entry.get("type") == kind), None)


def is_true(body: Body, kind: str) -> bool:
    """Return whether the condition of a type has status True."""
    return bool(dig(condition(body, kind), "status") == "True")


def named(bodies: Iterable[Body], name: str) -> Body | None:
    """Return the object of a name."""
    return next((body for body in bodies if name_of(body) == name), None)


def ref_to(body: Body, kind: str) -> Ref:
    """Return what a delete of exactly this object needs: of one that is never changed, as it was seen.

    A Job that has ended since, for one, is not deleted as one that runs.
    """
    metadata = dig(body, "metadata")
    version = dig(metadata, "resourceVersion") if kind in ("Job", "ControllerRevision") else None
    return Ref(kind, str(dig(metadata, "namespace") or ""), name_of(body), uid_of(body) or None, version)


def parse_time(value: Any) -> datetime | None:
    """Return an RFC 3339 time, or None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def format_time(value: datetime) -> str:
    """Return a time as Kubernetes writes it, in whole seconds of UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(body_time: Any, now: datetime) -> float:
    """Return the seconds since a time; an unreadable one is long ago."""
    parsed = parse_time(body_time)
    return (now - parsed).total_seconds() if parsed else float("inf")
