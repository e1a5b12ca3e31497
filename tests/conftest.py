"""Fixtures of all tests."""

from pathlib import Path

import hypothesis
import pytest

from tests.support.models import DigitsModels, build

# An example has no time limit: on a busy machine a slow one is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def digits_models(tmp_path_factory: pytest.TempPathFactory) -> DigitsModels:
    """Models trained on real images, once in a session."""
    folder: Path = tmp_path_factory.mktemp("digits-models")
    return build(folder)
