"""A reason together with its message: what every policy of the planner returns."""

from typing import NamedTuple

from modelpress.api.conditions import Reason

MESSAGE_LIMIT = 2000  # characters; the original messages of schedulers and registries can be long


class Note(NamedTuple):
    """Why something is as it is, for a condition."""

    reason: Reason
    message: str


def note(reason: Reason, message: str) -> Note:
    """Return a Note whose message fits a condition."""
    return Note(reason, message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…")
