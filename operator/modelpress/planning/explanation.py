"""A reason together with its message: what every decision of the planner gives as its cause."""

from dataclasses import dataclass

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.planning.problems.wording import stable

MESSAGE_LIMIT = 2000  # characters; the original messages of schedulers and registries can be long
_READ_LIMIT = 4 * MESSAGE_LIMIT  # characters of another program's message that are looked at at all
_HOW_TO_RETRY = f"; to try again, give the annotation {names.RETRY_ANNOTATION} another value"
_TRIED_AGAIN = "; it is tried again, with growing waits"


@dataclass(frozen=True)
class Explanation:
    """Why something is as it is. The message fits a condition, and stays the same while its cause does."""

    reason: Reason
    message: str

    def __post_init__(self) -> None:
        """Make any message, such as that of a kubelet, fit."""
        object.__setattr__(self, "message", _cut(stable(self.message[:_READ_LIMIT]), MESSAGE_LIMIT))


def final(why: Explanation) -> Explanation:
    """Return an explanation of what nothing but a person will try again: how to do that is its end."""
    return _ending(why, _HOW_TO_RETRY)


def tried_again(why: Explanation) -> Explanation:
    """Return an explanation of what may heal by itself."""
    return _ending(why, _TRIED_AGAIN)


def cause(message: str) -> str:
    """Return a message without what is said of trying again, which holds in a cluster only."""
    return message.removesuffix(_HOW_TO_RETRY).removesuffix(_TRIED_AGAIN)


def _ending(why: Explanation, end: str) -> Explanation:
    return Explanation(why.reason, _cut(why.message, MESSAGE_LIMIT - len(end)).removesuffix(".") + end)


def _cut(message: str, limit: int) -> str:
    return message if len(message) <= limit else message[: limit - 1] + "…"
