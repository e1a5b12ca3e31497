"""What Keras 2 wrote for the tests, made once by each release in an environment of its own.

tf-keras runs on the TensorFlow of this environment; TensorFlow 2.13 and 2.15 bring their own.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.models.cache import once
from tests.support.servers import environments
from tests.support.servers.binaries import cache

PROJECT = Path(__file__).resolve().parents[4]
_SOURCES = ("write.py", "cases.py", "functions.py")


@dataclass(frozen=True)
class Release:
    """A Keras 2: `packages` are installed for it; `module` is its name there."""

    name: str
    packages: tuple[str, ...]
    module: str = "tensorflow.keras"
    sets: tuple[str, ...] = ("layers", "functions", "whole")


# beside the TensorFlow of this environment
TF_KERAS = Release("tf-keras-2.21", ("tf-keras==2.21.0",), "tf_keras")
KERAS_2_15 = Release("keras-2.15", ("tensorflow-cpu==2.15.1",), sets=("layers", "whole"))
KERAS_2_13 = Release("keras-2.13", ("tensorflow-cpu==2.13.1",), sets=("whole",))
RELEASES = (TF_KERAS, KERAS_2_15, KERAS_2_13)


def folder(release: Release) -> Path:
    """Return the folder with what `write` makes in this release; do not change it.

    Skips the test where this Python is too new for the release.
    """
    if release is not TF_KERAS and sys.version_info >= (3, 12):
        pytest.skip(f"{release.packages[0]} has no build for this Python")
    made = cache() / f"{release.name}-{_key(release)}"
    once(made, f"writing with {release.packages[0]}", partial(_write, release))
    return made


def settings() -> Iterator[dict[str, dict[str, Any]]]:
    """Yield what each release wrote as the settings of its layers."""
    for release in RELEASES:
        yield json.loads((folder(release) / "settings.json").read_text())


def _write(release: Release, target: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if release is TF_KERAS:
        python = Path(sys.executable)
        environment["PYTHONPATH"] = str(environments.beside_ours(release.name, release.packages))
    else:
        python = environments.python(release.name, release.packages)
    command = [str(python), "-m", "tests.support.models.keras_2.write", str(target), release.module]
    done = subprocess.run(
        [*command, *release.sets], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{release.name}: {done.stderr[-4000:]}")


def _key(release: Release) -> str:
    digest = hashlib.sha256("\n".join((sys.version, *release.packages, *release.sets)).encode())
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:8]
