"""Unpacking of .zip and .tar.gz archives that somebody else made.

Checked before a byte is written: every name stays inside the target, entries are plain files and folders (no
symbolic or hard links, no devices), their number, their total size and the ratio of unpacked to packed size
are bounded. The sizes that an archive declares are enforced while it is unpacked. Must not import TensorFlow.
"""

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from modelpress.models.limits import MAX_ENTRIES, MAX_EXPANSION, MAX_MODEL_BYTES, SMALL
from modelpress.models.types import first_line, invalid

_CHUNK = 2**20
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError)


def unpack_zip(archive: Path, target: Path) -> None:
    """Unpack a .zip into the folder `target`. Raises InvalidModel for one that is broken or not safe."""
    try:
        with zipfile.ZipFile(archive) as file:
            check_zip(archive, file)
            for entry in file.infolist():
                if not entry.is_dir():
                    with file.open(entry) as content:
                        _write(content, _inside(archive, target, entry.filename), entry.file_size)
    except (*_BROKEN, RuntimeError) as error:  # RuntimeError: an encrypted entry
        raise invalid(f"{archive.name}: the archive cannot be unpacked: {first_line(error)}") from error


def check_zip(archive: Path, file: zipfile.ZipFile) -> None:
    """Check names, kinds and declared sizes of a .zip (or .keras). Raises InvalidModel."""
    entries = file.infolist()
    total = sum(entry.file_size for entry in entries)
    _check_bounds(archive, len(entries), total)
    for entry in entries:
        _check_name(archive, entry.filename)
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise invalid(
                f"{archive.name}: entry {entry.filename!r} is a link or device: only files are accepted"
            )


def unpack_tar_gz(archive: Path, target: Path) -> None:
    """Unpack a .tar.gz into the folder `target`. Raises InvalidModel for one that is broken or not safe."""
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as file:
            for count, entry in enumerate(_entries(file), start=1):
                total += entry.size
                _check_bounds(archive, count, total)
                _check_name(archive, entry.name)
                if not entry.isreg() and not entry.isdir():
                    raise invalid(
                        f"{archive.name}: entry {entry.name!r} is a link or device: only files are accepted"
                    )
                if content := file.extractfile(entry):  # None for a folder
                    with content:
                        _write(content, _inside(archive, target, entry.name), entry.size)
    except _BROKEN as error:
        raise invalid(f"{archive.name}: the archive cannot be unpacked: {first_line(error)}") from error


def _entries(file: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Read entry by entry: a bomb of a million headers is refused before it is listed."""
    while entry := file.next():
        yield entry


def _check_bounds(archive: Path, entries: int, total: int) -> None:
    if entries > MAX_ENTRIES:
        raise invalid(f"{archive.name}: more than {MAX_ENTRIES} entries")
    if total > MAX_MODEL_BYTES:
        raise invalid(f"{archive.name}: unpacks to more than {MAX_MODEL_BYTES} bytes")
    if total > SMALL and total > MAX_EXPANSION * archive.stat().st_size:
        raise invalid(f"{archive.name}: unpacks to more than {MAX_EXPANSION} times its size")


def _check_name(archive: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if "\\" in name or "\0" in name or name.startswith("/") or ".." in parts or (parts and ":" in parts[0]):
        raise invalid(f"{archive.name}: entry {name!r} points outside the archive")


def _inside(archive: Path, target: Path, name: str) -> Path:
    path = target.joinpath(*PurePosixPath(name).parts)
    if not path.resolve().is_relative_to(target.resolve()):
        raise invalid(f"{archive.name}: entry {name!r} points outside the archive")
    if path.exists():
        raise invalid(f"{archive.name}: entry {name!r} occurs twice")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(content: IO[bytes], path: Path, size: int) -> None:
    """Copy exactly `size` bytes: a stream that yields more than the archive declares is refused."""
    with path.open("xb") as file:
        left = size
        while piece := content.read(_CHUNK):
            left -= len(piece)
            if left < 0:
                break
            file.write(piece)
    if left:
        raise zipfile.BadZipFile(f"{path.name} is not as long as the archive declares")
