"""What an explanation says of trying again."""

import pytest

from modelpress.api.conditions import Reason
from modelpress.planning.explanation import MESSAGE_LIMIT, Explanation, cause, final, tried_again


@pytest.mark.parametrize("ending", [final, tried_again])
def test_the_cause_is_what_stands_before_the_ending(ending: object) -> None:
    assert callable(ending)
    why = Explanation(Reason.SOURCE_UNAVAILABLE, "s3://models: no such host")
    assert ending(why).message.startswith(f"{why.message}; ")
    assert cause(ending(why).message) == why.message
    assert cause(why.message) == why.message
    long = ending(Explanation(Reason.SOURCE_UNAVAILABLE, "x" * 2 * MESSAGE_LIMIT))
    assert len(long.message) <= MESSAGE_LIMIT
    assert set(cause(long.message)) == {"x", "…"}
