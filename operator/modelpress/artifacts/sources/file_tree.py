"""Copies a file or a directory of a file system, and never follows a link out of a root folder."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, PermissionDenied
from modelpress.artifacts.meter import Meter
from modelpress.artifacts.sources.transfer import Transfer

_log = logging.getLogger(__name__)
_MAX_FILES = 10_000  # the same as for object stores
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def copy_tree(source: Path, root: Path, transfer: Transfer) -> None:
    """Copy the file or directory `source` to `transfer.target`; links may lead to files below `root` only.

    Raises MissingError (SourceNotFound), DataError (InvalidModel), PermissionDenied (SourceUnauthorized), and
    OSError.
    """
    try:
        if not is_there(source):
            raise MissingError(Reason.SOURCE_NOT_FOUND, f"{transfer.shown}: no such file or directory")
        if source.is_dir():
            files = list(_files(source, root, transfer))
            if len(files) > _MAX_FILES:
                raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: has more than {_MAX_FILES} files")
            transfer.target.mkdir()
            pairs = [(path, transfer.target / path.relative_to(source)) for path in files]
        elif source.is_file() and not transfer.uri.endswith("/"):
            pairs = [(source, transfer.target)]
        else:
            raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: is not a file or directory")
        _copy(pairs, root, transfer)
    except PermissionError as error:
        raise PermissionDenied(
            Reason.SOURCE_UNAUTHORIZED, f"{transfer.shown}: permission denied: {error.filename}"
        ) from error


def is_there(path: Path, *, follow: bool = True) -> bool:
    """Whether there is something at a path. Raises OSError, such as PermissionError, where nobody knows."""
    try:
        path.stat(follow_symlinks=follow)
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True


def inside(path: Path, root: Path) -> bool:
    """Whether a path stays below `root` (without links itself) when all links are followed."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links in a circle
        return False


def _files(folder: Path, root: Path, transfer: Transfer) -> Iterator[Path]:
    """Yield the regular files below `folder`; a link to a file counts where the file is below `root`."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and (path.is_dir() or not inside(path, root)):
            raise DataError(
                Reason.INVALID_MODEL,
                f"{transfer.shown}: {path.name} is a link to a directory or out of the directory",
            )
        if path.is_dir():
            yield from _files(path, root, transfer)
        elif path.is_file():
            yield path
        else:
            raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: {path.name} is not a file or directory")


def _copy(pairs: list[tuple[Path, Path]], root: Path, transfer: Transfer) -> None:
    total = sum(source.stat().st_size for source, _ in pairs)
    transfer.limits.check(total)
    meter = Meter(_log, f"copy {transfer.what}", total)
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as reader, target.open("wb") as writer:
            if not inside(_opened(reader, source), root):
                raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: {source.name} changed meanwhile")
            shutil.copyfileobj(reader, writer, 2**20)
        meter.advance(target.stat().st_size)
    meter.finish()


def _opened(reader: BinaryIO, path: Path) -> Path:
    """Return what was opened, whatever its path has become, where the system tells."""
    descriptor = Path(f"/proc/self/fd/{reader.fileno()}")
    return descriptor if os.path.lexists(descriptor) else path
