"""What a model does in a child process is told, and ends nothing else."""

import os
import signal
from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import trial


@pytest.mark.parametrize(
    ("number", "reason", "words"),
    [
        (signal.SIGABRT, Reason.MODEL_LOAD_FAILED, "ends the process that loads or calls it: SIGABRT"),
        (signal.SIGKILL, Reason.OUT_OF_MEMORY, "takes more memory than there is"),
    ],
)
def test_a_signal_is_told(number: signal.Signals, reason: Reason, words: str) -> None:
    with pytest.raises(DataError, match=f"^a model {words}$") as caught:
        trial.check("a model", lambda: os.kill(os.getpid(), number), Reason.MODEL_LOAD_FAILED)
    assert caught.value.reason is reason


def test_a_refusal_is_raised_in_its_own_words() -> None:
    def refuses() -> None:
        raise DataError(Reason.UNSUPPORTED_MODEL, "in its own words")

    with pytest.raises(DataError, match=r"^in its own words$") as caught:
        trial.check("a model", refuses, Reason.MODEL_LOAD_FAILED)
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


def test_other_errors_are_met_by_whoever_calls_next(tmp_path: Path) -> None:
    def raises() -> None:
        (tmp_path / "ran").touch()
        raise RuntimeError

    trial.check("a model", raises, Reason.MODEL_LOAD_FAILED)
    assert (tmp_path / "ran").exists()
