"""Events about a resource: derived by comparing its conditions before and after, never emitted on the way."""

from collections.abc import Iterable

from modelpress.api.conditions import ConditionType, Reason
from modelpress.api.status import Condition
from modelpress.planning.types import EventNote

# Work that goes well; every other reason to be reconciling is trouble that may pass.
_NORMAL = (
    Reason.COMPRESSING,
    Reason.ROLLING_OUT,
    Reason.JOB_SUSPENDED,
    Reason.WAITING_FOR_JOB_SLOT,
    Reason.WAITING_FOR_DELETION,
)


def transitions(before: Iterable[Condition], after: Iterable[Condition]) -> tuple[EventNote, ...]:
    """Return one event for each condition that turned to something a person wants to know of.

    A message alone that changes is no event, the scheduler's, for one, changes with every node; but one of
    Stalled is: it tells of another edit.
    """
    known = {condition.type: condition for condition in before}
    return tuple(
        event for condition in after if (event := _event(known.get(condition.type), condition)) is not None
    )


def _event(old: Condition | None, new: Condition) -> EventNote | None:
    if new.status != "True":
        return None
    turned = old is None or old.status != "True"
    moved = turned or (old is not None and old.reason != new.reason)
    match new.type:
        case ConditionType.READY | ConditionType.COMPRESSED if turned:
            return EventNote("Normal", new.reason, new.message)
        case ConditionType.STALLED if moved or (old is not None and old.message != new.message):
            return EventNote("Warning", new.reason, new.message)
        case ConditionType.RECONCILING if moved:
            return EventNote("Normal" if new.reason in _NORMAL else "Warning", new.reason, new.message)
        case _:
            return None
