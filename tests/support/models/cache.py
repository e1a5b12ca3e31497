"""Models that the tests train or convert: made once, kept in the cache of the test binaries, and copied.

A program of ours makes each, `python -m MODULE FOLDER [NAME]`, in a process of its own: that of a test is in
the same state whether they were there or not.
"""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from tests.support.servers.binaries import cache

PROJECT = Path(__file__).resolve().parents[3]
PRODUCT = tuple(f"operator/modelpress/{name}" for name in ("api", "artifacts", "compression", "models"))
# the files and folders, beside the program's own file, that decide what it makes
_SOURCES: dict[str, tuple[str, ...]] = {
    "tests.support.models.trained": (),
    "tests.support.models.small": ("tests/support/models/trained.py",),
    "tests.support.models.twelve": (),
    "tests.support.models.denoiser": (),
    "tests.support.serving.convert_models": (
        "operator/modelpress/compression/formats/litert/edge_quantizer.py",
    ),
    "tests.support.serving.gpu_models": PRODUCT,
}
_PACKAGES = (
    *("tensorflow", "tensorflow-cpu", "keras", "numpy", "scikit-learn", "mlxtend"),
    *("ai-edge-litert", "ai-edge-quantizer"),
)


def copy(module: str, folder: Path, *name: str) -> None:
    """Copy what a program writes into `folder`, running it first if it never ran as it is now."""
    label = "-".join((module.rpartition(".")[2], *name)).replace(" ", "_")
    made = cache() / f"{label}-{_key(module)}"

    def make(fresh: Path) -> None:
        fresh.mkdir()
        command = [sys.executable, "-m", module, str(fresh), *name]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot make {label}: {done.stderr[-4000:]}")

    once(made, f"making {label}", make)
    # what was only needed to make them may be links to where that happened
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)


def once(made: Path, doing: str, make: Callable[[Path], None]) -> None:
    """Have the folder `made`: where it is missing, `make` it under another name first."""
    with FileLock(f"{made}.lock"):
        if not made.exists():
            print(f"[test models] {doing}, only once", file=sys.stderr, flush=True)
            fresh = Path(f"{made}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            make(fresh)
            fresh.rename(made)


def _key(module: str) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for package in _PACKAGES:
        digest.update(f"{package} {_version(package)}\n".encode())
    for source in (f"{module.replace('.', '/')}.py", *_SOURCES[module]):
        for path in _files(PROJECT / source):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.rglob("*.py"))
    else:
        yield path


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
