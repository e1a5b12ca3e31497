"""Children that are changed again after each repair: when the next repair is due, and what is told of it.

A write that did not help is not repeated at once. Somebody, or an admission rule, means it otherwise; that
is for a person to end.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from modelpress.api.conditions import Reason
from modelpress.api.names import APPLIED_ANNOTATION
from modelpress.planning.backoff import pause
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation
from modelpress.planning.types import Body, Observed, Repair

_LOOK_SECONDS = 2.0  # after a write: by then the watches show it
FORGOTTEN_SECONDS = 600.0  # after the last repair, what follows is another story
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_TOLD_FROM = 3  # repairs of the same: an edit that a person tries again is no fight
_SHOWN = 5  # fields


def is_due(observed: Observed, body: Body, fields: tuple[str, ...]) -> bool:
    """Return whether fields of an object that are out of place may be put right now."""
    same = (each for each in observed.repairs if each.is_of(body["kind"], objects.name_of(body), fields))
    return all(observed.now >= _next(each) for each in same)


def rejected(observed: Observed) -> Explanation | None:
    """Return which object does not stay as we apply it, or None."""
    told = sorted(_told(observed), key=lambda each: (each.kind, each.name, each.fields))
    if not told:
        return None
    worst = told[0]
    fields = ", ".join(worst.fields[:_SHOWN])
    more = f" and {len(worst.fields) - _SHOWN} more" if len(worst.fields) > _SHOWN else ""
    return Explanation(
        Reason.DRIFT_REJECTED,
        f"{worst.kind} {worst.name} does not stay as it was applied: {fields}{more};"
        " it is put right again, with growing waits",
    )


def look_again(observed: Observed, applied: Iterable[Body]) -> float | None:
    """Return the seconds until a repair is due again, or until there is nothing more to tell.

    What is repaired now is looked at again as well: no event tells of a write that changed nothing.
    """
    moments = [_next(each) for each in observed.repairs] + [_quiet(each) for each in _told(observed)]
    waits = [(moment - observed.now).total_seconds() for moment in moments if moment > observed.now]
    if any(_is_repair(observed, body) for body in applied):
        waits.append(_LOOK_SECONDS)
    return min(waits, default=None)


def _is_repair(observed: Observed, body: Body) -> bool:
    """Return whether what is applied now may have been applied before: no other content is known to be."""
    found = objects.named(observed.of_kind(body["kind"]), objects.name_of(body))
    content = objects.annotation(body, APPLIED_ANNOTATION)
    return found is not None and objects.annotation(found, APPLIED_ANNOTATION) in (content, None)


def _told(observed: Observed) -> list[Repair]:
    repeated = (each for each in observed.repairs if each.count >= _TOLD_FROM)
    return [each for each in repeated if observed.now < _quiet(each)]


def _pause(repair: Repair) -> timedelta:
    return timedelta(seconds=pause(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, repair.count - 1))


def _next(repair: Repair) -> datetime:
    return repair.at + _pause(repair)


def _quiet(repair: Repair) -> datetime:
    return repair.at + 2 * _pause(repair)
