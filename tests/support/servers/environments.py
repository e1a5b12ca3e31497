"""Python environments of their own for packages that must not meet ours, each built once in the tests' cache.

`tritonclient` registers messages of the same names as ours, and wants another protobuf; the peers of the
benchmarks bring their own versions of everything.
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from tests.support.servers.binaries import cache

TFSERVING = ("tensorflow-serving-api==2.21.0",)
TRITON = ("tritonclient[http,grpc]==2.73.0",)  # without the extras it has no client at all


def python(name: str, packages: Sequence[str]) -> Path:
    """Return the interpreter of an environment with `packages`, building it first where it is missing."""

    def build(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *packages], check=True)

    return _built(name, packages, build) / "bin" / "python"


def beside_ours(name: str, packages: Sequence[str]) -> Path:
    """Return a folder for PYTHONPATH with `packages` alone: what they need is taken from this environment."""

    def build(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, *packages], check=True)

    return _built(name, packages, build)


def _built(name: str, packages: Sequence[str], build: Callable[[Path], None]) -> Path:
    """Return the folder of these packages; `build` makes it where it is missing."""
    key = hashlib.sha256("\n".join((sys.version, *packages)).encode()).hexdigest()[:8]
    folder = cache() / f"{name}-{key}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            print(f"[test environments] installing {', '.join(packages)}, only once", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            (folder / "complete").touch()
    return folder
