"""Which event about an object explains best why it waits. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from modelpress.api.conditions import Reason
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import kubernetes_reasons
from modelpress.planning.types import Body

_TOGETHER_SECONDS = 300.0  # the events about two volumes that cannot be mounted alternate


class _Warning(NamedTuple):
    rank: int  # 2: known to hold a pod, 1: any other warning, 0: beside the point as a rule
    at: float
    why: Explanation


def explain_events(body: Body, events: Iterable[Body], since: float = 0.0) -> Explanation | None:
    """Return what the newest event about an object says, from `since` (POSIX seconds) on.

    One that is known to hold pods goes before any other. Of several that are repeated in turns it is always
    the same one.
    """
    return _best(
        [_warning(event) for event in events if _is_about(event, body) and _is_relevant(event)], since
    )


def explain_claim(name: str, events: Iterable[Body]) -> Explanation | None:
    """Return what the newest event about a PersistentVolumeClaim says."""
    about = {"kind": "PersistentVolumeClaim", "name": name}
    found = [
        _warning(event)
        for event in events
        if _is_relevant(event)
        and all(objects.dig(event, "involvedObject", field) == value for field, value in about.items())
    ]
    best = _best(found, 0.0)
    return (
        Explanation(Reason.VOLUME_NOT_MOUNTED, f"PersistentVolumeClaim {name}: {best.message}")
        if best
        else None
    )


def _best(found: list[_Warning], since: float) -> Explanation | None:
    fresh = [each for each in found if each.at >= since]
    if not fresh:
        return None
    newest = max(fresh, key=lambda each: (each.rank, each.at))
    together = [
        each.why
        for each in fresh
        if each.rank == newest.rank
        and not newest.at - each.at > _TOGETHER_SECONDS  # true of undated events, too
    ]
    return min(together, key=lambda why: (why.reason.value, why.message))


def _warning(event: Body) -> _Warning:
    word, message = str(event.get("reason") or ""), str(event.get("message") or "")
    known = kubernetes_reasons.meaning(word, message)
    rank = 0 if word in kubernetes_reasons.HINTS else 2 if known else 1
    return _Warning(rank, _last(event), Explanation(known or Reason.POD_NOT_READY, message or word))


def _is_relevant(event: Body) -> bool:
    return (
        event.get("type", "Warning") == "Warning" or event.get("reason") in kubernetes_reasons.TELLING_NORMAL
    )


def _last(event: Body) -> float:
    """Return when an event last happened: the two APIs of events have different fields for it."""
    times = (
        objects.dig(event, "series", "lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        objects.dig(event, "metadata", "creationTimestamp"),
    )
    known = [moment.timestamp() for time in times if (moment := objects.parse_time(time))]
    return max(known, default=float("inf"))


def _is_about(event: Body, body: Body) -> bool:
    about = objects.dig(event, "involvedObject") or {}
    uid = about.get("uid")
    return bool(uid == objects.uid_of(body) if uid else about.get("name") == objects.name_of(body))
