"""Every combination of the passes that works, and every one that the Job refuses, for real: an hour."""

from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.models.types import Kind
from tests.support.models.combination_runs import (
    Files,
    files,
    is_refused_before_anything_is_measured,
    makes_an_artifact,
)
from tests.support.models.combinations import CHANNELS, Combination, Refusal, every, expected

__all__ = ["files"]  # a fixture
REFUSED = Refusal(Reason.UNSUPPORTED_MODEL, CHANNELS)


@pytest.mark.parametrize("one", [one for one in every() if expected(one) is None], ids=str)
def test_what_works_makes_an_artifact(one: Combination, files: dict[Kind, Files], tmp_path: Path) -> None:
    makes_an_artifact(one, files[one.kind], tmp_path)


@pytest.mark.parametrize("one", [one for one in every() if expected(one) == REFUSED], ids=str)
def test_a_model_without_layers_is_refused_before_anything_is_measured(
    one: Combination, files: dict[Kind, Files], tmp_path: Path
) -> None:
    is_refused_before_anything_is_measured(one, files[one.kind], tmp_path)
