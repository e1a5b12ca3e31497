"""Fixtures of all tests that serve a converted model: `from tests.support.serving.fixtures import *`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.serving.artifacts import Worker, convert, make_artifact, worker

__all__ = ["artifacts", "digits", "flooded", "models", "reference"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with NAME-SCHEME.tflite of every model, converted by TensorFlow in another process."""
    folder = tmp_path_factory.mktemp("models")
    convert(folder)
    return folder


@pytest.fixture(scope="session")
def artifacts(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an artifact NAME-SCHEME of every model."""
    folder = tmp_path_factory.mktemp("artifacts")
    for model in models.glob("*.tflite"):
        make_artifact(model, folder / model.stem)
    return folder


@pytest.fixture(scope="module")
def digits(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker that serves the seed model as int8, under the name digits."""
    with worker(artifacts / "seed-int8", tmp_path_factory.mktemp("digits")) as running:
        yield running


@pytest.fixture(scope="module")
def flooded(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Serve a model to a module that attacks its worker."""
    folder = tmp_path_factory.mktemp("flooded")
    with worker(artifacts / "seed-int8", folder, request_timeout_seconds=5) as running:
        yield running


@pytest.fixture(scope="module")
def reference(models: Path) -> LiteRTExecutor:
    """The bare interpreter of what `digits` serves."""
    return LiteRTExecutor(models / "seed-int8.tflite")
