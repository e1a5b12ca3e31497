"""SHA-256 of files and directories. Standard library only: workers import it while they start."""

import hashlib
import os
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_sha256(folder: Path) -> str:
    """Return the SHA-256 of a directory: that of its path-sorted `sha256sum` lines.

    The same as this command prints, so that anyone can make the pin of a directory:

        cd DIR && find -L . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum -- | sha256sum

    Paths are relative, sorted by their bytes. Empty directories do not count.
    """
    paths = sorted(
        (path.relative_to(folder) for path in folder.rglob("*") if path.is_file()), key=os.fsencode
    )
    lines = hashlib.sha256()
    for path in paths:
        lines.update(f"{file_sha256(folder / path)}  ".encode() + os.fsencode(path) + b"\n")
    return lines.hexdigest()


def path_sha256(path: Path) -> str:
    """Return the SHA-256 of a file or of a directory."""
    return directory_sha256(path) if path.is_dir() else file_sha256(path)
