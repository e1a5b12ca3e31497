"""Releases of the operator beside this checkout, each with a Python environment of its own in the cache.

An earlier one is a commit, built as it was: its files from git, and the packages of its own lock.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.support.servers.binaries import cache

PROJECT = Path(__file__).resolve().parents[3]
# The last commit whose operator kept its store by kopf.index, told drift by comparing values, held no Lease
# and kept a Job's result on its pod alone: what came after it is the largest change of the operator so far.
EARLIER = "3015664bb39f"
_PARTS = (
    "operator",
    "crds",
    "manifests",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)  # for the build and for kubectl
_LOCK = "operator/images/requirements/operator.txt"


@dataclass(frozen=True)
class Release:
    """A built release."""

    folder: Path

    @property
    def python(self) -> Path:
        """Return the interpreter that runs it: `python -m modelpress operator`."""
        return self.folder / "venv" / "bin" / "python"

    @property
    def crds(self) -> Path:
        """Return its CustomResourceDefinition, for `kubectl apply -k`."""
        return self.folder / "source" / "crds"

    @property
    def manifests(self) -> Path:
        """Return its manifests."""
        return self.folder / "source" / "manifests"


def earlier(commit: str = EARLIER) -> Release:
    """Return the release of a commit. Raises RuntimeError where the clone lacks it."""
    full = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if full.returncode:
        raise RuntimeError(
            f"the tests of upgrades build commit {commit}, which this clone lacks:"
            " `git fetch --unshallow` brings it"
        )
    return built(f"release-{full.stdout.decode().strip()[:12]}", lambda source: _unpack(commit, source))


def built(name: str, write: Callable[[Path], None], *options: str) -> Release:
    """Return the release whose source `write` puts into a folder, built once for each name.

    `options` are given to uv; without any, the packages are those of the source's own lock.
    """
    release = Release(cache() / name)
    with FileLock(f"{release.folder}.lock"):
        if not (release.folder / "complete").exists():
            print(f"[test environments] building {name}, only once", file=sys.stderr)
            shutil.rmtree(release.folder, ignore_errors=True)
            source = release.folder / "source"
            source.mkdir(parents=True)
            write(source)
            _install(release, source, options)
            (release.folder / "complete").touch()
    return release


def _unpack(commit: str, source: Path) -> None:
    archive = _git("archive", "--format=tar", commit, "--", *_PARTS)
    if archive.returncode:
        raise RuntimeError(f"git archive {commit}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)


def _install(release: Release, source: Path, options: tuple[str, ...]) -> None:
    uv = [str(Path(sys.executable).with_name("uv"))]
    subprocess.run(
        [*uv, "venv", "--quiet", "--python", sys.executable, str(release.folder / "venv")], check=True
    )
    install = [*uv, "pip", "install", "--quiet", "--python", str(release.python)]
    if options:
        subprocess.run([*install, *options, f"{source}[operator]"], check=True)
        return
    subprocess.run([*install, "--require-hashes", "--requirement", str(source / _LOCK)], check=True)
    subprocess.run([*install, "--no-deps", str(source)], check=True)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, check=False)
