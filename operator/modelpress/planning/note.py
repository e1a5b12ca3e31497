"""A reason together with its message: what every policy of the planner returns."""

from typing import NamedTuple

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.planning.wording import stable

MESSAGE_LIMIT = 2000  # characters; the original messages of schedulers and registries can be long
_READ_LIMIT = 4 * MESSAGE_LIMIT  # of a message of others; the rest is cut off before it is looked at
_HOW_TO_RETRY = f"; to try again, give the annotation {names.RETRY_ANNOTATION} another value"
_TRIED_AGAIN = "; it is tried again, with growing waits"


class Note(NamedTuple):
    """Why something is as it is, for a condition."""

    reason: Reason
    message: str


def note(reason: Reason, message: str) -> Note:
    """Return a Note whose message fits a condition, and stays the same while its cause does."""
    return Note(reason, _cut(stable(message[:_READ_LIMIT]), MESSAGE_LIMIT))


def final(why: Note) -> Note:
    """Return a Note of what nothing but a person will try again: how to do that is its end."""
    return _ending(why, _HOW_TO_RETRY)


def tried_again(why: Note) -> Note:
    """Return a Note of what may heal by itself."""
    return _ending(why, _TRIED_AGAIN)


def _ending(why: Note, end: str) -> Note:
    return Note(why.reason, _cut(why.message, MESSAGE_LIMIT - len(end)).removesuffix(".") + end)


def _cut(message: str, limit: int) -> str:
    return message if len(message) <= limit else message[: limit - 1] + "…"
