"""Unpacking of .zip and .tar.gz archives that somebody else made.

Checked before a byte is written: every name stays inside the target, entries are plain files and folders (no
symbolic or hard links, no devices), their number, their total size and the ratio of unpacked to packed size
are bounded. The sizes that an archive declares are enforced while it is unpacked, and no list of entries is
read that would not fit in memory.
"""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from modelpress.bounds import room, tar_stream
from modelpress.models.safety.limits import MAX_DIRECTORY_BYTES, MAX_MODEL_BYTES, SMALL
from modelpress.models.types import first_line, invalid

_CHUNK = 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others take memory that the archive chooses
_ENCRYPTED = 1  # bit of an entry's flags

# What the standard library raises for archives that are broken; RuntimeError: an encrypted entry.
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
    struct.error,
    room.WrongLengthError,
)


class _BoundedFile(io.FileIO):
    """A file that refuses to be read in one piece of more than MAX_DIRECTORY_BYTES.

    `zipfile` reads the list of all entries in one piece, and keeps some hundred bytes for each.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes."""
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of entries is larger than {MAX_DIRECTORY_BYTES} bytes")
        return super().read(size) or b""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position; one before the start of the file is what a broken list of entries names."""
        if whence == 0 and offset < 0:
            raise zipfile.BadZipFile("its list of entries names a position before its start")
        return super().seek(offset, whence)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a .zip, .keras or .npz that may be hostile. Raises one of `BROKEN`, or OSError."""
    with _BoundedFile(path) as file, zipfile.ZipFile(file) as opened:
        yield opened


def read_whole(file: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of an entry, whose size was checked. Raises one of `BROKEN`, or OSError."""
    with file.open(name) as content:
        return b"".join(iter(lambda: content.read(_CHUNK), b""))


def unpack_zip(archive: Path, target: Path) -> None:
    """Unpack a .zip into the folder `target`. Raises InvalidModel for one that is broken or not safe."""
    try:
        with open_zip(archive) as file:
            check_zip(archive, file)
            for entry in file.infolist():
                if not entry.is_dir():
                    with file.open(entry) as content:
                        room.write(content, _inside(archive, target, entry.filename), entry.file_size)
    except BROKEN as error:
        raise invalid(f"{archive.name}: the archive cannot be unpacked: {first_line(error)}") from error


def check_zip(archive: Path, file: zipfile.ZipFile) -> None:
    """Check names, kinds and declared sizes of a .zip (or .keras). Raises InvalidModel."""
    left = _room(archive)
    for entry in file.infolist():
        _take(left, archive, entry.file_size)
    for entry in file.infolist():
        _check_name(archive, entry.filename)
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise invalid(
                f"{archive.name}: entry {entry.filename!r} is a link or device: only files are accepted"
            )
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise invalid(
                f"{archive.name}: entry {entry.filename!r} is encrypted or compressed by another method than "
                "deflate, the one that is accepted"
            )


def unpack_tar_gz(archive: Path, target: Path) -> None:
    """Unpack a .tar.gz into the folder `target`. Raises InvalidModel for one that is broken or not safe."""
    left = _room(archive)
    try:
        with gzip.open(archive) as stream:
            for entry in tar_stream.entries(stream):
                _take(left, archive, entry.size)
                _check_name(archive, entry.name)
                if not entry.plain:
                    raise invalid(
                        f"{archive.name}: entry {entry.name!r} is a link or device: only files are accepted"
                    )
                if not entry.folder:
                    room.write(entry.content, _inside(archive, target, entry.name), entry.size)
    except BROKEN as error:
        raise invalid(f"{archive.name}: the archive cannot be unpacked: {first_line(error)}") from error


def _room(archive: Path) -> room.Room:
    return room.Room(MAX_MODEL_BYTES, archive.stat().st_size, SMALL)


def _take(left: room.Room, archive: Path, size: int) -> None:
    try:
        left.take(size)
    except room.TooLargeError as error:
        raise invalid(f"{archive.name}: {error}") from error


def _check_name(archive: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if "\\" in name or "\0" in name or name.startswith("/") or ".." in parts or (parts and ":" in parts[0]):
        raise invalid(f"{archive.name}: entry {name[:200]!r} points outside the archive")
    if len(name) > 1000 or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        raise invalid(f"{archive.name}: entry {name[:50]!r}... has a name that is too long")


def _inside(archive: Path, target: Path, name: str) -> Path:
    path = target.joinpath(*PurePosixPath(name).parts)
    if not path.resolve().is_relative_to(target.resolve()):
        raise invalid(f"{archive.name}: entry {name!r} points outside the archive")
    if path.exists():
        raise invalid(f"{archive.name}: entry {name!r} occurs twice")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise invalid(f"{archive.name}: entry {name!r} lies in what is also a file") from error
    return path
