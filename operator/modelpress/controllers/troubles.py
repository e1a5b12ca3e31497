"""What errors that no plan expects mean for people: the API server's, or a fault of ours. Pure."""

from urllib3.exceptions import HTTPError

from modelpress.api.conditions import Reason
from modelpress.api.text import printable
from modelpress.controllers.cluster import ServerError
from modelpress.planning.explanation import Explanation

_LIMIT = 500  # characters of the text of a fault of ours


def explained(error: Exception) -> Explanation:
    """Return an error in words that fit a condition: one line, without a traceback."""
    if isinstance(error, ServerError | HTTPError):
        return Explanation(Reason.API_ERROR, printable(str(error)))
    text = printable(" ".join(str(error).split()), limit=_LIMIT)
    return Explanation(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {text}")
