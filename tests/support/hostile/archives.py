"""Hostile .zip and .tar.gz files, and files that are broken or of another kind."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from modelpress.bounds import room
from tests.support.hostile.files import HostileFiles, Row


def _zip(
    files: HostileFiles, *entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED
) -> Path:
    """Write the seed model as .zip with more entries."""
    path = files.folder / "model.zip"
    with zipfile.ZipFile(files.models.zipped) as old, zipfile.ZipFile(path, "w", method) as new:
        for entry in old.infolist():
            new.writestr(entry, old.read(entry))
        for name, content in entries:
            new.writestr(name, content)
    return path


def _tar(files: HostileFiles, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write the seed model as .tar.gz with more entries."""
    path = files.folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in sorted(files.models.saved_model.rglob("*")):
            file.add(name, name.relative_to(files.models.saved_model), recursive=False)
        for info, content in entries:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def _traversal_zip(name: str, files: HostileFiles) -> Path:
    return _zip(files, (_place(name, files), b"payload"))


def _traversal_tar(name: str, files: HostileFiles) -> Path:
    return _tar(files, (tarfile.TarInfo(_place(name, files)), b"payload"))


def _place(name: str, files: HostileFiles) -> str:
    return name.replace("MARKER", str(files.traps.marker))


def _linked_zip(files: HostileFiles) -> Path:
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return _zip(files, (link, str(files.traps.secret).encode()))


def _linked_tar(kind: bytes, files: HostileFiles) -> Path:
    link = tarfile.TarInfo("assets/link")
    link.type, link.linkname = kind, str(files.traps.secret)
    return _tar(files, (link, b""))


def _write_through_link(files: HostileFiles) -> Path:
    link = tarfile.TarInfo("out")
    link.type, link.linkname = tarfile.SYMTYPE, str(files.traps.marker.parent)
    return _tar(files, (link, b""), (tarfile.TarInfo(f"out/{files.traps.marker.name}"), b"payload"))


def _bomb_zip(files: HostileFiles) -> Path:
    return _zip(files, ("assets/zeros", bytes(2**25)), method=zipfile.ZIP_DEFLATED)


def _bomb_tar(files: HostileFiles) -> Path:
    return _tar(files, (tarfile.TarInfo("assets/zeros"), bytes(2**25)))


def _bomb_keras(files: HostileFiles) -> Path:
    path = files.folder / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            file.writestr(name, bytes(2**24))
    return path


def _many_entries_zip(files: HostileFiles) -> Path:
    return _zip(files, *((f"f{i}", b"") for i in range(room.MAX_ENTRIES)))


def _long_directory(files: HostileFiles) -> Path:
    """Name one stored entry a million times in the list of entries."""
    path = _zip(files, ("x", b""))
    data = path.read_bytes()
    record = data[data.rindex(b"PK\x01\x02") : data.rindex(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(record) * 10**6, len(data), 0)
    path.write_bytes(data + record * 10**6 + end)
    return path


def _overlapping(files: HostileFiles) -> Path:
    """Name one compressed entry 5,000 times: all of them unpack to gigabytes."""
    path = files.folder / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("saved_model.pb", os.urandom(2**10) + bytes(2**20))
    data = path.read_bytes()
    place = data.rindex(b"PK\x01\x02")
    record = data[place : data.rindex(b"PK\x05\x06")] * 5_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5_000, 5_000, len(record), place, 0)
    path.write_bytes(data[:place] + record + end)
    return path


def _understated(files: HostileFiles) -> Path:
    path = _zip(files, ("assets/x", b"0123456789" * 1234))
    data = path.read_bytes()
    path.write_bytes(data.replace((12340).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    return path


def _zip64(files: HostileFiles) -> Path:
    """Declare an entry of 2**62 bytes in the extra field of a zip64 record."""
    path = files.folder / "model.zip"
    name, extra = b"saved_model.pb", struct.pack("<2H2Q", 1, 16, 2**62, 4)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, 4, 4, len(name), 0) + name + b"data"
    sizes = (0xFFFFFFFF, 0xFFFFFFFF)
    record = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, *sizes, len(name), len(extra), 0, 0, 0, 0, 0
    )
    record += name + extra
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(record), len(local), 0)
    path.write_bytes(local + record + end)
    return path


def _flagged(offset: int, value: int, files: HostileFiles) -> Path:
    """Change a field of 16 bits of all records of a .zip: the flags are at 6, the method at 8."""
    path = _zip(files)
    data = bytearray(path.read_bytes())
    for magic, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = data.find(magic)
        while place >= 0:
            data[place + offset + shift : place + offset + shift + 2] = value.to_bytes(2, "little")
            place = data.find(magic, place + 4)
    path.write_bytes(data)
    return path


def _lzma(files: HostileFiles) -> Path:
    return _zip(files, (_method("assets/x", zipfile.ZIP_LZMA), b"x" * 1000))


def _method(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = method
    return info


def _file_as_folder(files: HostileFiles) -> Path:
    return _zip(files, ("assets/a", b"1"), ("assets/a/b", b"2"))


def _raw_tar(files: HostileFiles, *blocks: bytes) -> Path:
    path = files.folder / "model.tar.gz"
    with gzip.open(path, "wb") as file:
        for block in blocks:
            file.write(block)
    return path


def _header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _long_header(kind: bytes, files: HostileFiles) -> Path:
    """Compress an extended header of 64 MiB to 64 KiB."""
    return _raw_tar(files, _header(kind, 2**26), bytes(2**26))


def _many_headers(files: HostileFiles) -> Path:
    """Put 2,000 extended headers before one entry, each with a key of its own and 60 KiB of text."""
    header, size = _header(tarfile.XHDTYPE, 60 * 1024), 60 * 1024
    texts = ((b"%d k%04d=" % (size, i)).ljust(size - 1, b"v") + b"\n" for i in range(2000))
    return _raw_tar(files, *(header + text for text in texts))


def _sparse_tar(files: HostileFiles) -> Path:
    """Declare a sparse file of the old GNU form whose map goes on and on."""
    block = bytearray(_header(tarfile.GNUTYPE_SPARSE, 512))
    block[482] = 1  # the map is continued in the next block
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    part = (b"%011o\0%011o\0" % (1, 1)) * 21
    more = part.ljust(504, b"\0") + b"\1" + bytes(7)
    return _raw_tar(files, bytes(block), more * 2**17)


def _sparse_pax(files: HostileFiles) -> Path:
    info = tarfile.TarInfo("saved_model.pb")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999"}
    return _tar(files, (info, b"1\n0\n1\n"))


def _negative(files: HostileFiles) -> Path:
    info = tarfile.TarInfo("saved_model.pb")
    info.pax_headers = {"size": "-512"}
    return _tar(files, (info, b"1"))


def _many_entries_tar(files: HostileFiles) -> Path:
    return _raw_tar(files, _header(tarfile.REGTYPE, 0) * 30_000)


def _nested(files: HostileFiles) -> Path:
    path = files.folder / "model.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(files.models.zipped, "inner.zip")
    return path


def _content(name: str, content: bytes, files: HostileFiles) -> Path:
    path = files.folder / name
    path.write_bytes(content)
    return path


def _cut(which: str, share: float, files: HostileFiles) -> Path:
    source: Path = getattr(files.models, which)
    path = files.folder / source.name
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _pipe(files: HostileFiles) -> Path:
    os.mkfifo(files.folder / "model.keras")
    return files.folder / "model.keras"


def _names(make: Callable[[str, HostileFiles], Path], kind: str) -> list[Row]:
    names = {"up": "../../../../../../../..MARKER", "absolute": "MARKER", "backslash": "a\\..\\..\\evil"}
    return [Row(f"{kind}-traversal-{key}", partial(make, name), "outside") for key, name in names.items()]


_KINDS = {
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "fifo": tarfile.FIFOTYPE,
}
_WRONG = {
    "empty": b"",
    "text": b"hello, I am a model",
    "pickle": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93",
    "elf": b"\x7fELF" + bytes(100),
    "zip-start": b"PK\x03\x04" + bytes(50),
    "hdf5-start": b"\x89HDF\r\n\x1a\n",
    "gzip-start": b"\x1f\x8b" * 9,
    "gzip-of-text": gzip.compress(b"hello, I am a model"),
}

ROWS = [
    *_names(_traversal_zip, "zip"),
    *_names(_traversal_tar, "tar"),
    Row("zip-symlink", _linked_zip, "link or device"),
    *(Row(f"tar-{name}", partial(_linked_tar, kind), "link or device") for name, kind in _KINDS.items()),
    Row("tar-file-behind-a-link", _write_through_link, "link or device"),
    Row("zip-bomb", _bomb_zip, "times its size"),
    Row("tar-bomb", _bomb_tar, "times its size"),
    Row("keras-bomb", _bomb_keras, "times its size"),
    Row("zip-many-entries", _many_entries_zip, "more than 10000 entries"),
    Row("zip-long-directory", _long_directory, "list of entries"),
    Row("zip-overlapping", _overlapping, "model.zip"),
    Row("zip-understated", _understated, "cannot be unpacked"),
    Row("zip-zip64-lie", _zip64, "unpacks to more than"),
    Row("zip-encrypted", partial(_flagged, 6, 1), "encrypted"),
    Row("zip-unknown-method", partial(_flagged, 8, 93), "another method"),
    Row("zip-lzma", _lzma, "another method"),
    Row("zip-file-as-folder", _file_as_folder, "also a file"),
    Row("zip-in-zip", _nested, "no saved_model.pb"),
    Row("tar-long-pax-header", partial(_long_header, tarfile.XHDTYPE), "header is longer"),
    Row("tar-long-global-header", partial(_long_header, tarfile.XGLTYPE), "header is longer"),
    Row("tar-long-name", partial(_long_header, tarfile.GNUTYPE_LONGNAME), "header is longer"),
    Row("tar-many-headers", _many_headers, "extended headers before an entry"),
    Row("tar-sparse", _sparse_tar, "link or device"),
    Row("tar-sparse-pax", _sparse_pax, "link or device"),
    Row("tar-negative-size", _negative, "size -512"),
    Row("tar-many-entries", _many_entries_tar, "model.tar.gz"),
    *(
        Row(f"wrong-{name}", partial(_content, "model.keras", data), "model.keras")
        for name, data in _WRONG.items()
    ),
    *(
        Row(f"cut-{which}-{share}", partial(_cut, which, share), "")
        for which in ("functional", "functional_h5", "zipped", "tarred")
        for share in (0.05, 0.5, 0.99)
    ),
    Row("pipe", _pipe, "device or pipe"),
]
