"""Releases of the operator beside this checkout, each with a Python environment of its own.

An earlier one is a commit, built as it was: its files from git, and the packages of its own lock.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.support.servers.binaries import cache

PROJECT = Path(__file__).resolve().parents[3]
PARTS = ("operator", "crds", "manifests", "pyproject.toml", "README.md", "LICENSE")  # what a release needs
# The last commit whose operator kept its store by kopf.index, told drift by comparing values, held no Lease
# and kept a Job's result on its pod alone: what came after it is the largest change of the operator so far.
EARLIER = "3015664bb39f"
_LOCK = "operator/images/requirements/operator.txt"


@dataclass(frozen=True)
class Release:
    """A built release in a folder."""

    folder: Path

    @property
    def source(self) -> Path:
        """Return its files."""
        return self.folder / "source"

    @property
    def python(self) -> Path:
        """Return the interpreter that runs it: `python -m modelpress operator`."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def crds(self) -> Path:
        """Return its CustomResourceDefinition, for `kubectl apply -k`."""
        return self.source / "crds"

    @property
    def manifests(self) -> Path:
        """Return its manifests."""
        return self.source / "manifests"

    def run(self, *arguments: str) -> str:
        """Run `modelpress`; return what it prints."""
        command = [str(self.python), "-m", "modelpress", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Present(Release):
    """This checkout, with the environment of the tests."""

    def __init__(self) -> None:
        super().__init__(PROJECT)

    @property
    def source(self) -> Path:
        """Return its files."""
        return self.folder

    @property
    def python(self) -> Path:
        """Return the interpreter that runs the tests."""
        return Path(sys.executable)


def earlier(commit: str = EARLIER) -> Release:
    """Return the release of a commit, built once. Raises RuntimeError where the clone lacks it."""
    known = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if known.returncode:
        raise RuntimeError(
            f"the tests of upgrades build commit {commit}, which this clone lacks:"
            " `git fetch --unshallow` brings it"
        )
    release = Release(cache() / f"release-{known.stdout.decode().strip()[:12]}")
    with FileLock(f"{release.folder}.lock"):
        if not (release.folder / "complete").exists():
            print(f"[test environments] building the operator of {commit}, only once", file=sys.stderr)
            shutil.rmtree(release.folder, ignore_errors=True)
            _unpack(commit, release.source)
            install(release)
            (release.folder / "complete").touch()
    return release


def install(release: Release, packages: Sequence[str] = ()) -> None:
    """Make its environment: what its lock says, then these packages instead."""
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(release.folder / "venv")], check=True)
    pip = [*uv, "pip", "install", "--python", str(release.python)]
    subprocess.run([*pip, "--require-hashes", "--requirement", str(release.source / _LOCK)], check=True)
    if packages:
        subprocess.run([*pip, *packages], check=True)
    subprocess.run([*pip, "--no-deps", str(release.source)], check=True)


def _unpack(commit: str, source: Path) -> None:
    source.mkdir(parents=True)
    archive = _git("archive", "--format=tar", commit, "--", *PARTS)
    if archive.returncode:
        raise RuntimeError(f"git archive {commit}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, check=False)
