"""Archives that somebody else made: what is unpacked, and what is refused before a byte is written."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.bounds import room
from modelpress.models.safety import archive


def zip_of(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def tar_of(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for info, content in entries:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def refused(unpack: object, source: Path, target: Path) -> str:
    with pytest.raises(DataError) as caught:
        unpack(source, target)  # type: ignore[operator]
    assert caught.value.reason is Reason.INVALID_MODEL
    assert "\n" not in caught.value.message
    assert source.name in caught.value.message
    return caught.value.message


def test_a_plain_zip_is_unpacked_with_its_folders(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "a.zip", {"model/saved_model.pb": b"graph", "model/variables/x": b"1"})
    archive.unpack_zip(source, tmp_path / "out")
    assert (tmp_path / "out/model/saved_model.pb").read_bytes() == b"graph"
    assert (tmp_path / "out/model/variables/x").read_bytes() == b"1"


def test_a_tar_made_of_the_current_folder_is_unpacked(tmp_path: Path) -> None:
    source = tar_of(
        tmp_path / "a.tar.gz",
        (tar_entry(".", tarfile.DIRTYPE), b""),
        (tar_entry("./saved_model.pb"), b"graph"),
    )
    archive.unpack_tar_gz(source, tmp_path / "out")
    assert (tmp_path / "out/saved_model.pb").read_bytes() == b"graph"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil", "C:/evil"])
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    zipped = zip_of(tmp_path / "a.zip", {name: b"x"})
    tarred = tar_of(tmp_path / "a.tar.gz", (tar_entry(name), b"x"))
    assert "outside" in refused(archive.unpack_zip, zipped, tmp_path / "out")
    assert "outside" in refused(archive.unpack_tar_gz, tarred, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE],
    ids=lambda kind: f"type{kind!r}",
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    source = tar_of(tmp_path / "a.tar.gz", (tar_entry("saved_model.pb", kind, "/etc/passwd"), b""))
    assert "link or device" in refused(archive.unpack_tar_gz, source, tmp_path / "out")


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("variables")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc")
    assert "link or device" in refused(archive.unpack_zip, tmp_path / "a.zip", tmp_path / "out")


def test_bombs_are_refused_by_their_ratio(tmp_path: Path) -> None:
    zeros = bytes(8 * 2**20)
    zipped = zip_of(tmp_path / "a.zip", {"x": zeros}, zipfile.ZIP_DEFLATED)
    tarred = tar_of(tmp_path / "a.tar.gz", (tar_entry("x"), zeros))
    assert "times its size" in refused(archive.unpack_zip, zipped, tmp_path / "out")
    assert "times its size" in refused(archive.unpack_tar_gz, tarred, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_of_too_many_entries_is_refused(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "a.zip", {f"f{i}": b"" for i in range(room.MAX_ENTRIES + 1)})
    assert "entries" in refused(archive.unpack_zip, source, tmp_path / "out")


def test_a_size_that_the_header_understates_is_refused(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "a.zip", {"x": b"0123456789" * 100}, zipfile.ZIP_DEFLATED)
    data = source.read_bytes()
    understated = data.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert understated != data
    source.write_bytes(understated)
    refused(archive.unpack_zip, source, tmp_path / "out")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("x", b"2")
    assert "twice" in refused(archive.unpack_zip, tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("length", [4, 30, 200])
def test_archives_that_are_cut_off_are_refused(tmp_path: Path, length: int) -> None:
    random = bytes(range(256)) * 8
    zipped = zip_of(tmp_path / "a.zip", {"x": random})
    tarred = tar_of(tmp_path / "a.tar.gz", (tar_entry("x"), random))
    zipped.write_bytes(zipped.read_bytes()[:length])
    tarred.write_bytes(tarred.read_bytes()[:length])
    refused(archive.unpack_zip, zipped, tmp_path / "out")
    refused(archive.unpack_tar_gz, tarred, tmp_path / "out")
