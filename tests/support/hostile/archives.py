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

from modelpress.models.safety import limits
from tests.support.hostile.files import Bench, Row


def _zip(
    bench: Bench, *entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_STORED
) -> Path:
    """Write the seed model as .zip with more entries."""
    path = bench.folder / "model.zip"
    with zipfile.ZipFile(bench.models.zipped) as old, zipfile.ZipFile(path, "w", method) as new:
        for entry in old.infolist():
            new.writestr(entry, old.read(entry))
        for name, content in entries:
            new.writestr(name, content)
    return path


def _tar(bench: Bench, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write the seed model as .tar.gz with more entries."""
    path = bench.folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in sorted(bench.models.saved_model.rglob("*")):
            file.add(name, name.relative_to(bench.models.saved_model), recursive=False)
        for info, content in entries:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def _traversal_zip(name: str, bench: Bench) -> Path:
    return _zip(bench, (_place(name, bench), b"payload"))


def _traversal_tar(name: str, bench: Bench) -> Path:
    return _tar(bench, (tarfile.TarInfo(_place(name, bench)), b"payload"))


def _place(name: str, bench: Bench) -> str:
    return name.replace("MARKER", str(bench.traps.marker))


def _linked_zip(bench: Bench) -> Path:
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return _zip(bench, (link, str(bench.traps.secret).encode()))


def _linked_tar(kind: bytes, bench: Bench) -> Path:
    link = tarfile.TarInfo("assets/link")
    link.type, link.linkname = kind, str(bench.traps.secret)
    return _tar(bench, (link, b""))


def _write_through_link(bench: Bench) -> Path:
    link = tarfile.TarInfo("out")
    link.type, link.linkname = tarfile.SYMTYPE, str(bench.traps.marker.parent)
    return _tar(bench, (link, b""), (tarfile.TarInfo(f"out/{bench.traps.marker.name}"), b"payload"))


def _bomb_zip(bench: Bench) -> Path:
    return _zip(bench, ("assets/zeros", bytes(2**25)), method=zipfile.ZIP_DEFLATED)


def _bomb_tar(bench: Bench) -> Path:
    return _tar(bench, (tarfile.TarInfo("assets/zeros"), bytes(2**25)))


def _bomb_keras(bench: Bench) -> Path:
    path = bench.folder / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            file.writestr(name, bytes(2**24))
    return path


def _many_entries_zip(bench: Bench) -> Path:
    return _zip(bench, *((f"f{i}", b"") for i in range(limits.MAX_ENTRIES)))


def _long_directory(bench: Bench) -> Path:
    """Name one stored entry a million times in the list of entries."""
    path = _zip(bench, ("x", b""))
    data = path.read_bytes()
    record = data[data.rindex(b"PK\x01\x02") : data.rindex(b"PK\x05\x06")]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(record) * 10**6, len(data), 0)
    path.write_bytes(data + record * 10**6 + end)
    return path


def _overlapping(bench: Bench) -> Path:
    """Name one compressed entry 5,000 times: all of them unpack to gigabytes."""
    path = bench.folder / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("saved_model.pb", os.urandom(2**10) + bytes(2**20))
    data = path.read_bytes()
    place = data.rindex(b"PK\x01\x02")
    record = data[place : data.rindex(b"PK\x05\x06")] * 5_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5_000, 5_000, len(record), place, 0)
    path.write_bytes(data[:place] + record + end)
    return path


def _understated(bench: Bench) -> Path:
    path = _zip(bench, ("assets/x", b"0123456789" * 1234))
    data = path.read_bytes()
    path.write_bytes(data.replace((12340).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    return path


def _zip64(bench: Bench) -> Path:
    """Declare an entry of 2**62 bytes in the extra field of a zip64 record."""
    path = bench.folder / "model.zip"
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


def _flagged(offset: int, value: int, bench: Bench) -> Path:
    """Change a field of 16 bits of all records of a .zip: the flags are at 6, the method at 8."""
    path = _zip(bench)
    data = bytearray(path.read_bytes())
    for magic, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = data.find(magic)
        while place >= 0:
            data[place + offset + shift : place + offset + shift + 2] = value.to_bytes(2, "little")
            place = data.find(magic, place + 4)
    path.write_bytes(data)
    return path


def _lzma(bench: Bench) -> Path:
    return _zip(bench, (_method("assets/x", zipfile.ZIP_LZMA), b"x" * 1000))


def _method(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = method
    return info


def _file_as_folder(bench: Bench) -> Path:
    return _zip(bench, ("assets/a", b"1"), ("assets/a/b", b"2"))


def _raw_tar(bench: Bench, *blocks: bytes) -> Path:
    path = bench.folder / "model.tar.gz"
    with gzip.open(path, "wb") as file:
        for block in blocks:
            file.write(block)
    return path


def _header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _long_header(kind: bytes, bench: Bench) -> Path:
    """Compress an extended header of 64 MiB to 64 KiB."""
    return _raw_tar(bench, _header(kind, 2**26), bytes(2**26))


def _many_headers(bench: Bench) -> Path:
    """Put 2,000 extended headers before one entry, each with a key of its own and 60 KiB of text."""
    header, size = _header(tarfile.XHDTYPE, 60 * 1024), 60 * 1024
    texts = ((b"%d k%04d=" % (size, i)).ljust(size - 1, b"v") + b"\n" for i in range(2000))
    return _raw_tar(bench, *(header + text for text in texts))


def _sparse_tar(bench: Bench) -> Path:
    """Declare a sparse file of the old GNU form whose map goes on and on."""
    block = bytearray(_header(tarfile.GNUTYPE_SPARSE, 512))
    block[482] = 1  # the map is continued in the next block
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    part = (b"%011o\0%011o\0" % (1, 1)) * 21
    more = part.ljust(504, b"\0") + b"\1" + bytes(7)
    return _raw_tar(bench, bytes(block), more * 2**17)


def _sparse_pax(bench: Bench) -> Path:
    info = tarfile.TarInfo("saved_model.pb")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999"}
    return _tar(bench, (info, b"1\n0\n1\n"))


def _negative(bench: Bench) -> Path:
    info = tarfile.TarInfo("saved_model.pb")
    info.pax_headers = {"size": "-512"}
    return _tar(bench, (info, b"1"))


def _many_entries_tar(bench: Bench) -> Path:
    return _raw_tar(bench, _header(tarfile.REGTYPE, 0) * 30_000)


def _nested(bench: Bench) -> Path:
    path = bench.folder / "model.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(bench.models.zipped, "inner.zip")
    return path


def _content(name: str, content: bytes, bench: Bench) -> Path:
    path = bench.folder / name
    path.write_bytes(content)
    return path


def _cut(which: str, share: float, bench: Bench) -> Path:
    source: Path = getattr(bench.models, which)
    path = bench.folder / source.name
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _pipe(bench: Bench) -> Path:
    os.mkfifo(bench.folder / "model.keras")
    return bench.folder / "model.keras"


def _names(make: Callable[[str, Bench], Path], kind: str) -> list[Row]:
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
