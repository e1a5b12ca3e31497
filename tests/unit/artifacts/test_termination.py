"""What a container tells at its end."""

import pytest

from modelpress.api import contract
from modelpress.api.conditions import Reason
from modelpress.api.contract import JobFailure
from modelpress.artifacts import termination


@pytest.mark.parametrize("text", ['ü"\n' * 5000, "a" * 5000, "one line"])
def test_a_failure_is_one_line_that_fits_into_the_termination_message(text: str) -> None:
    told = termination.failure(Reason.INVALID_MODEL, text)
    assert len(told.encode()) <= contract.TERMINATION_MESSAGE_LIMIT
    message = JobFailure.model_validate_json(told).message
    assert "\n" not in message
    assert " ".join(text.split()).startswith(message)
    assert len(message) >= min(len(text), 600)
