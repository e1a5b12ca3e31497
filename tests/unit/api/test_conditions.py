"""Reasons and errors: documented words, sysexits codes."""

import ast
import re
from collections.abc import Iterator
from os import EX_SOFTWARE
from pathlib import Path

import pytest

import modelpress
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
    error_of,
)

LEAVES = {
    leaf.__name__: leaf for leaf in (DataError, MissingError, PermissionDenied, UnavailableError, UsageError)
}


def _raised() -> Iterator[tuple[str, Reason]]:
    """Yield the class and the reason of each error that is made in the product with both written out."""
    for path in Path(modelpress.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id=name), args=[ast.Attribute(value=ast.Name(id="Reason"), attr=reason), *_]
                ) if name in LEAVES:
                    yield name, Reason[reason]


def test_an_error_has_the_exit_code_of_its_reason() -> None:
    raised = set(_raised())
    assert len(raised) > 15
    coded = {(name, reason) for name, reason in raised if reason.exit_code != EX_SOFTWARE}
    assert {reason for name, reason in coded if LEAVES[name].exit_code != reason.exit_code} == set()


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_that_somebody_else_reported_becomes_the_error_with_its_exit_code(reason: Reason) -> None:
    error = error_of(reason, "why")
    assert (error.exit_code, error.reason, error.message) == (reason.exit_code, reason, "why")
    assert Reason.of(reason.value) is reason


def test_the_word_of_another_release_is_a_failed_job() -> None:
    assert Reason.of("FromTomorrow") is Reason.JOB_FAILED


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
