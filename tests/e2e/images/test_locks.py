"""The lock files resolve for all platforms, worker-gpu's too: needs a package registry, downloads nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.images.conftest import PROJECT

LOCKS = ("operator", "compressor", "worker", "worker-gpu", "build")


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_resolves_to_wheels(lock: str, platform: str, python: str, tmp_path: Path) -> None:
    options = [
        "--dry-run",
        "--require-hashes",
        "--no-deps",
        "--no-build",
        "--quiet",
        "--target",
        str(tmp_path / "x"),
    ]
    options += ["--python-platform", platform, "--python-version", python]
    uv = str(Path(sys.executable).with_name("uv"))
    command = [
        uv,
        "pip",
        "install",
        *options,
        "-r",
        str(PROJECT / "operator/images/requirements" / f"{lock}.txt"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
