"""The images, built once a session by `make images` on a Debian base."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.servers.servers import *  # noqa: F403 - fixtures

PROJECT = Path(__file__).resolve().parents[3]
TARGETS = ("operator", "compressor", "worker")  # worker-gpu: gigabytes of CUDA, see test_locks.py
TAG = "test"


def name(target: str) -> str:
    """The name that `make images TAG=test` gives."""
    return f"docker.io/modelpress/{target}:{TAG}"


def make(*arguments: str) -> None:
    """Run make with buildah on the tests' storage."""
    environment = {**images.environment(), "ENGINE": "buildah"}
    command = ["nice", "make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="session")
def base() -> str:
    """A plain Debian with its Python, which refuses `pip install` (PEP 668)."""
    reason = images.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(f"NO IMAGE IS TESTED: {reason}")
    return images.base_image()


@pytest.fixture(scope="session")
def built(base: str) -> dict[str, str]:
    """Names of the images by target."""
    make(
        "images",
        f"IMAGES={' '.join(TARGETS)}",
        f"BASE={base}",
        f"TAG={TAG}",
        "SOURCE=https://example.com/src",
    )
    return {target: name(target) for target in TARGETS}


class Container:
    """A container of an image; its programs run as its user, with the files of `root` below /."""

    def __init__(self, identifier: str, root: Path) -> None:
        self.identifier = identifier
        self.root = root

    def run(
        self, *command: str, options: tuple[str, ...] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; return its output."""
        settings = [f"--env={key}={value}" for key, value in variables.items()]
        return images.run(["buildah", "run", *settings, *options, self.identifier, "--", *command], 600)


@pytest.fixture(scope="session")
def container(built: dict[str, str]) -> Iterator[Callable[[str], Container]]:
    """Returns a container of a target, or of an image's name."""
    made: dict[str, Container] = {}

    def get(target: str) -> Container:
        if target not in made:
            identifier = images.buildah("from", "--pull-never", built.get(target, target)).strip()
            made[target] = Container(identifier, Path(images.buildah("mount", identifier).strip()))
        return made[target]

    yield get
    for one in made.values():
        images.buildah("rm", one.identifier)
