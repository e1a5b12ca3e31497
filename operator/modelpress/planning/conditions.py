"""The five conditions of a resource, from what the planner decided.

Reconciling and Stalled follow kstatus: True when abnormal, never both. A condition's time moves only with its
status.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from modelpress.api.conditions import ConditionType, Reason
from modelpress.api.status import Condition
from modelpress.planning.note import Note, note
from modelpress.planning.objects import format_time


@dataclass(frozen=True)
class Situation:
    """What the conditions are about."""

    replicas: int  # wanted
    ready: int  # entry pods that are ready
    current: str | None  # the revision that serves
    serving: bool  # the wanted revision is current
    made: str | None  # the wanted artifact in words; None where there is none
    working: Note | None
    stalled: Note | None
    suspended: bool
    trouble: Note | None  # why entry pods are not ready


def conditions(
    situation: Situation, generation: int, now: datetime, before: Iterable[Condition]
) -> list[Condition]:
    """Return all five conditions; `before` are those of the last status."""
    known = {condition.type: condition for condition in before}
    moment = format_time(now)
    made = []
    for kind, (status, why) in _verdicts(situation).items():
        old = known.get(kind)
        text = "True" if status else "False"
        made.append(
            Condition(
                type=kind.value,
                status=text,
                reason=why.reason.value,
                message=why.message,
                last_transition_time=old.last_transition_time if old and old.status == text else moment,
                observed_generation=generation,
            )
        )
    return made


def _verdicts(situation: Situation) -> dict[ConditionType, tuple[bool, Note]]:
    stalled, working = situation.stalled, None if situation.stalled else situation.working
    return {
        ConditionType.READY: _ready(situation),
        ConditionType.AVAILABLE: _available(situation),
        ConditionType.COMPRESSED: _compressed(situation),
        ConditionType.RECONCILING: (working is not None, working or _idle(situation)),
        ConditionType.STALLED: (
            stalled is not None,
            stalled or note(Reason.SETTLED, "nothing prevents progress"),
        ),
    }


def _ready(situation: Situation) -> tuple[bool, Note]:
    if situation.serving and situation.replicas == 0:
        return True, note(Reason.SCALED_TO_ZERO, f"revision {situation.current} is scaled to zero")
    if situation.serving and situation.ready >= 1:
        return True, note(Reason.AVAILABLE, f"revision {situation.current} answers")
    return False, situation.stalled or situation.working or _waiting(situation)


def _waiting(situation: Situation) -> Note:
    if situation.suspended and not situation.serving:
        return _suspended()
    return situation.trouble or _pods_ready(situation)


def _available(situation: Situation) -> tuple[bool, Note]:
    if situation.replicas == 0:
        return True, note(Reason.SCALED_TO_ZERO, "no pods are wanted")
    if situation.ready >= situation.replicas:
        return True, note(Reason.AVAILABLE, f"{situation.ready} of {situation.replicas} pods are ready")
    return False, situation.trouble or _pods_ready(situation)


def _compressed(situation: Situation) -> tuple[bool, Note]:
    if situation.made is not None:
        return True, note(Reason.COMPRESSION_SUCCEEDED, situation.made)
    if situation.suspended and not situation.working:
        return False, situation.stalled or _suspended()
    return False, situation.stalled or situation.working or note(
        Reason.COMPRESSING, "there is no artifact yet"
    )


def _idle(situation: Situation) -> Note:
    if situation.stalled is not None:
        return situation.stalled
    if situation.suspended and not situation.serving:
        return _suspended()
    return note(Reason.SETTLED, "nothing is being changed")


def _suspended() -> Note:
    return note(Reason.SUSPENDED, "suspend is true: no new Job and no new revision")


def _pods_ready(situation: Situation) -> Note:
    text = f"{situation.ready} of {situation.replicas} pods are ready"
    return note(Reason.MINIMUM_REPLICAS_UNAVAILABLE, text)
