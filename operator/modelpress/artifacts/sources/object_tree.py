"""Downloads an object, or all objects below a prefix as a directory, through an fsspec file system.

What the object stores have in common: names that are no file names are refused, so that nothing is written
outside of the target; sizes are checked; progress is reported; a file never waits in memory as a whole.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, UnavailableError
from modelpress.artifacts.meter import Meter
from modelpress.artifacts.sources.fsspec_progress import MeterCallback
from modelpress.artifacts.sources.transfer import Transfer

Copy = Callable[[str, Path, MeterCallback], None]  # (object, target, progress)

_log = logging.getLogger(__name__)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_MAX_FILES = 10_000
_PIECE = 2**20  # bytes


def download_tree(transfer: Transfer, filesystem: Any, copy: Copy) -> None:
    """Download `transfer.uri` to `transfer.target`; `copy` brings one object.

    Raises MissingError (SourceNotFound) for an empty prefix, DataError (InvalidModel) for names that are no
    file names, UnavailableError (SourceUnavailable) where an object changed meanwhile, and whatever the file
    system raises.
    """
    root = transfer.uri.partition("://")[2].rstrip("/")
    if not transfer.uri.endswith("/") and (info := filesystem.info(root))["type"] == "file":
        pairs = [(root, transfer.target, int(info["size"]))]
    else:
        pairs = [
            (f"{root}/{path}", transfer.target / path, size)
            for path, size in _list(filesystem, root, transfer)
        ]
    total = sum(size for _, _, size in pairs)
    transfer.limits.check(total)
    meter = Meter(_log, f"download {transfer.what}", total)
    for key, target, size in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(key, target, MeterCallback(meter, transfer.limits))
        if target.stat().st_size != size:
            raise UnavailableError(
                Reason.SOURCE_UNAVAILABLE, f"{transfer.shown}: changed during the download"
            )
    meter.finish()


def stream(filesystem: Any, key: str, target: Path, callback: MeterCallback) -> None:
    """Copy an object in one request, a piece at a time; for file systems that open(block_size=0) so."""
    with filesystem.open(key, "rb", block_size=0) as source, target.open("wb") as file:
        while piece := source.read(_PIECE):
            file.write(piece)
            callback.relative_update(len(piece))


def _list(filesystem: Any, root: str, transfer: Transfer) -> list[tuple[str, int]]:
    """Return (path below the prefix, bytes) of its objects; the markers of empty directories are left out."""
    found = filesystem.find(root, detail=True)
    prefix = f"{root}/"
    files = [
        (key.removeprefix(prefix), int(info["size"]))
        for key, info in sorted(found.items())
        if key.startswith(prefix) and not key.endswith("/") and info["type"] == "file"
    ]
    if not files:
        raise MissingError(Reason.SOURCE_NOT_FOUND, f"{transfer.shown}: no object has this prefix")
    if len(files) > _MAX_FILES:
        raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: has more than {_MAX_FILES} objects")
    for path, _ in files:
        parts = path.split("/")
        if _UNSAFE.search(path) or any(part in ("", ".", "..") for part in parts):
            raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: the key {path!r} is no file name")
    names = {path for path, _ in files}
    for path in sorted(names):
        if any(str(parent) in names for parent in Path(path).parents):
            raise DataError(Reason.INVALID_MODEL, f"{transfer.shown}: {path!r} lies below another object")
    return files
