"""Fixtures of all tests."""

from pathlib import Path

import pytest

from tests.support.models import DigitsModels, build


@pytest.fixture(scope="session")
def digits_models(tmp_path_factory: pytest.TempPathFactory) -> DigitsModels:
    """Models trained on real images, once in a session."""
    folder: Path = tmp_path_factory.mktemp("digits-models")
    return build(folder)
