"""file:// sources: copies a file or a directory, and never follows a link out of the directory."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, PermissionDenied, UsageError
from modelpress.artifacts.meter import Meter
from modelpress.artifacts.transfer import Transfer

_log = logging.getLogger(__name__)


def download(transfer: Transfer) -> None:
    """Copy the file or directory of a file:// URI to `transfer.target`."""
    source = _path(transfer)
    try:
        if not source.exists():
            raise MissingError(Reason.SOURCE_NOT_FOUND, f"{transfer.shown}: no such file or directory")
        if source.is_dir():
            _copy_directory(source, transfer)
        elif source.is_file() and not transfer.uri.endswith("/"):
            _copy([(source, transfer.target)], transfer)
        else:
            raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: is not a file or directory")
    except PermissionError as error:
        raise PermissionDenied(
            Reason.SOURCE_UNAUTHORIZED, f"{transfer.shown}: permission denied: {error.filename}"
        ) from error


def _path(transfer: Transfer) -> Path:
    parts = urlsplit(transfer.uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UsageError(
            Reason.INVALID_SPEC, f"{transfer.shown}: a file URI is file:// followed by an absolute path"
        )
    return Path(unquote(parts.path))


def _copy_directory(source: Path, transfer: Transfer) -> None:
    files = list(_files(source, source.resolve(), transfer))
    transfer.target.mkdir()
    _copy([(path, transfer.target / path.relative_to(source)) for path in files], transfer)


def _files(folder: Path, root: Path, transfer: Transfer) -> Iterator[Path]:
    """Yield the regular files below `folder`; a link to a file counts where the file is below `root`."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root)):
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


def _copy(pairs: list[tuple[Path, Path]], transfer: Transfer) -> None:
    meter = Meter(_log, f"copy {transfer.what}", sum(source.stat().st_size for source, _ in pairs))
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as reader, target.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 2**20)
        meter.advance(target.stat().st_size)
    meter.finish()
