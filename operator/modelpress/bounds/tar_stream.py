"""Reading a .tar from a stream, entry by entry, without trusting its headers.

The `tarfile` module reads extended headers and maps of sparse files whole, however long they say that they
are, and keeps all of them: a small compressed file can fill the memory. Here every read is bounded and
nothing is kept. Formats: POSIX ustar and pax (IEEE Std 1003.1, "pax - portable archive interchange"), and
the long names of GNU tar.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from modelpress.bounds.room import Reader

_BLOCK = 512
_CHUNK = 2**20
_MAX_HEADER = 2**16  # bytes of one extended header; paths are far shorter
_MAX_HEADERS = 16  # extended ones before an entry; tar writes up to four
_MAX_TAIL = 2**20  # zeros behind the last entry; tar pads to 10 KiB
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


class Content:
    """The bytes of one entry; must be read before the next entry is asked for."""

    def __init__(self, stream: Reader, size: int) -> None:
        self._stream = stream
        self._left = size
        self._padding = -size % _BLOCK

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end. Raises tarfile.ReadError where the file is cut off."""
        piece = self._stream.read(min(size, self._left))
        if not piece and self._left:
            raise tarfile.ReadError("the file is cut off")
        self._left -= len(piece)
        return piece

    def skip(self) -> None:
        """Read what is left, and the padding behind it."""
        while self.read(_CHUNK):
            pass
        _exactly(self._stream, self._padding)


@dataclass(frozen=True)
class Entry:
    """One entry: `plain` is whether it is a file or folder, `folder` which of them."""

    name: str
    size: int
    plain: bool
    folder: bool
    content: Content


def entries(stream: Reader) -> Iterator[Entry]:
    """Yield the entries of a .tar to its end. Raises tarfile.TarError for one that is broken."""
    extended: dict[str, str] = {}
    count = 0
    while header := _header(stream):
        if header.type in (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            count += 1
            if count > _MAX_HEADERS:
                raise tarfile.ReadError(f"more than {_MAX_HEADERS} extended headers before an entry")
            data = _extended(stream, header.size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                extended["path"] = data.split(b"\0", 1)[0].decode("utf-8", "replace")
            elif header.type in _PAX:
                extended.update(_records(data))
            elif not {"path", "size"}.isdisjoint(_records(data)):  # of all files; git writes a comment there
                raise tarfile.ReadError("a global header sets the name or size of files")
            continue
        entry = _entry(stream, header, extended)
        yield entry
        entry.content.skip()
        extended, count = {}, 0
    _tail(stream)


def _header(stream: Reader) -> tarfile.TarInfo | None:
    """Return the next header; None at the end, which is a block of zeros or the end of the stream."""
    block = stream.read(_BLOCK)
    if len(block) == _BLOCK and block.count(0) < _BLOCK:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if block and len(block) < _BLOCK:
        raise tarfile.ReadError("the file is cut off")
    return None


def _entry(stream: Reader, header: tarfile.TarInfo, extended: dict[str, str]) -> Entry:
    text = extended.get("size", str(header.size))
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise tarfile.ReadError(f"an entry has the size {text[:20]}")
    sparse = any(key.startswith("GNU.sparse") for key in extended)
    folder = header.isdir()
    plain = (folder or header.type in (tarfile.REGTYPE, tarfile.AREGTYPE)) and not sparse
    size = 0 if folder else int(text)
    return Entry(extended.get("path", header.name), size, plain, folder, Content(stream, size))


def _extended(stream: Reader, size: int) -> bytes:
    if not 0 <= size <= _MAX_HEADER:
        raise tarfile.ReadError(f"a header is longer than {_MAX_HEADER} bytes")
    data = _exactly(stream, size)
    _exactly(stream, -size % _BLOCK)
    return data


def _records(data: bytes) -> dict[str, str]:
    """Return the records of a pax header: `LENGTH KEY=VALUE` and a newline each."""
    found = {}
    offset = 0
    while offset < len(data) and data[offset]:
        space = data.find(b" ", offset, offset + 8)
        length = data[offset:space] if space > 0 else b""
        end = offset + int(length) if length.isdigit() else 0
        if not space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise tarfile.ReadError("an extended header is broken")
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        offset = end
    return found


def _exactly(stream: Reader, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise tarfile.ReadError("the file is cut off")
    return data


def _tail(stream: Reader) -> None:
    """Read to the end: only there the stream's own checksum is checked."""
    left = _MAX_TAIL
    while piece := stream.read(_CHUNK):
        left -= len(piece)
        if left < 0 or piece.count(0) < len(piece):
            raise tarfile.ReadError("more data follows the last entry")
