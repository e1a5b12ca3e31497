"""Fixtures of all tests."""

import logging
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.models.trained import DigitsModels, build

# An example has no time limit: on a busy machine a slow one is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def log_settings() -> Iterator[None]:
    """Keep a command that configures the process's log from doing so for the tests that follow."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def digits_models(tmp_path_factory: pytest.TempPathFactory) -> DigitsModels:
    """Models trained on real images, once in a session."""
    folder: Path = tmp_path_factory.mktemp("digits-models")
    return build(folder)
