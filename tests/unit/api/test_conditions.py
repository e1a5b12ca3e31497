"""Reasons and errors: documented words, sysexits codes."""

import re

import pytest

from modelpress.api.conditions import ConditionType, Reason
from modelpress.api.contract import JobFailure
from modelpress.api.errors import (
    FINAL_EXIT_CODES,
    DataError,
    MissingError,
    ModelPressError,
    PermissionDenied,
    UnavailableError,
    UsageError,
)


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_one_camel_case_word_with_a_sentence(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", reason.value)  # the pattern of metav1.Condition
    assert reason.meaning.endswith(".")
    assert reason.meaning != reason.value


def test_a_reason_is_its_word_in_json_and_text() -> None:
    failure = JobFailure.model_validate_json('{"reason": "DigestMismatch", "message": "m"}')
    assert failure.reason is Reason.DIGEST_MISMATCH
    assert str(Reason.DIGEST_MISMATCH) == "DigestMismatch"
    assert f"{Reason.DIGEST_MISMATCH}" == "DigestMismatch"


def test_conditions_are_those_of_the_crd_s_description() -> None:
    assert {str(kind) for kind in ConditionType} == {
        "Ready", "Available", "Compressed", "Reconciling", "Stalled",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code", "final"),
    [
        (UsageError, 64, True),
        (DataError, 65, True),
        (MissingError, 66, True),
        (UnavailableError, 69, False),
        (PermissionDenied, 77, True),
    ],
)
def test_only_an_unavailable_peer_is_worth_a_retry(
    error: type[ModelPressError], code: int, final: bool
) -> None:
    raised = error(Reason.INVALID_DATA, "data.evaluation: not an .npz file")
    assert raised.exit_code == code
    assert (code in FINAL_EXIT_CODES) is final
    assert str(raised) == raised.message == "data.evaluation: not an .npz file"
    assert raised.reason is Reason.INVALID_DATA
