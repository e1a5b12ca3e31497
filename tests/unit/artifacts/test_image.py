import json
import os
import tarfile
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.api.errors import DataError, MissingError
from modelpress.artifacts.image import ANY_RATIO, KEY_ANNOTATION, Image, pack, sha256_digest
from modelpress.artifacts.stores.layout import LayoutStore
from tests.support.artifact_folders import KEY, make

NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,6}(/[a-z][a-z0-9_.-]{0,6})?", fullmatch=True)


@settings(max_examples=40)
@given(files=st.dictionaries(NAMES, st.binary(max_size=3000), min_size=1, max_size=5))
def test_packing_the_same_files_gives_the_same_digest(files: dict[str, bytes]) -> None:
    directories = {name.split("/")[0] for name in files if "/" in name}
    files = {f"m_{name}" if name in directories else name: content for name, content in files.items()}
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        make(Path(first), files)
        model = next(iter(files))
        shuffled = {model: files[model], **dict(reversed(files.items()))}
        make(Path(second), shuffled)
        for path in Path(second).rglob("*"):
            os.utime(path, (1_000_000, 1_000_000))
            path.chmod(0o700)
        with pack(Path(first)) as one, pack(Path(second)) as other:
            assert one.digest == other.digest
            assert [blob.path.read_bytes() for blob in one.blobs] == [
                blob.path.read_bytes() for blob in other.blobs
            ]


def test_another_content_name_or_key_gives_another_digest(tmp_path: Path) -> None:
    variants = [
        make(tmp_path / "a", {"model.tflite": b"1"}),
        make(tmp_path / "b", {"model.tflite": b"2"}),
        make(tmp_path / "c", {"model2.tflite": b"1"}),
        make(tmp_path / "d", {"model.tflite": b"1"}, key="f" * 64),
    ]
    assert len({digest_of(folder) for folder in variants}) == 4


def test_the_image_has_a_layer_for_the_model_and_one_about_it(tmp_path: Path) -> None:
    with pack(make(tmp_path / "artifact")) as image:
        document = json.loads(image.manifest)
        config, *layers = image.blobs
        assert document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        assert document["annotations"][KEY_ANNOTATION] == KEY
        assert [layer["digest"] for layer in document["layers"]] == [
            sha256_digest(layer.path.read_bytes()) for layer in layers
        ]
        assert document["config"]["digest"] == sha256_digest(config.path.read_bytes())
        assert [members(layer.path) for layer in layers] == [
            ["model.tflite"],
            ["manifest.json", "report.json"],
        ]
        assert json.loads(config.path.read_bytes())["rootfs"]["type"] == "layers"


def test_owners_times_and_modes_are_fixed(tmp_path: Path) -> None:
    with pack(make(tmp_path / "artifact")) as image, tarfile.open(image.blobs[1].path) as tar:
        entry = tar.getmembers()[0]
        assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "", "")
        assert (entry.mtime, entry.mode) == (0, 0o644)
        assert image.blobs[1].path.read_bytes()[4:8] == b"\0\0\0\0"  # the time in the gzip header


def test_a_file_that_no_digest_covers_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    (folder / "notes.txt").write_text("left over")
    with pytest.raises(DataError, match=r"notes\.txt: is not listed"):
        pack(folder)


def test_a_folder_whose_files_changed_is_not_packed(tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    (folder / "model.tflite").write_bytes(b"another")
    with pytest.raises(DataError, match="sha256"):
        pack(folder)
    (folder / "model.tflite").unlink()
    with pytest.raises(MissingError):
        pack(folder)


def test_packing_does_not_hold_the_model_in_memory(tmp_path: Path) -> None:
    size = 96 * 2**20
    folder = make(tmp_path / "artifact", {"model.tflite": bytes(size)})
    tracemalloc.start()
    try:
        pack(folder).close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 8


def test_the_temporary_folder_goes_with_the_image(tmp_path: Path) -> None:
    with pack(make(tmp_path / "artifact")) as image:
        path = image.blobs[0].path
        assert path.exists()
    assert not path.parent.exists()


def members(path: Path) -> list[str]:
    with tarfile.open(path, "r:gz") as tar:
        return tar.getnames()


def digest_of(folder: Path) -> str:
    image: Image
    with pack(folder) as image:
        return image.digest


def test_an_artifact_of_zeros_is_packed_so_that_it_is_unpacked(tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact", {"model.tflite": bytes(ANY_RATIO + 1)})
    with pack(folder) as image:
        LayoutStore(tmp_path / "layout").push(image, KEY)
        LayoutStore(tmp_path / "layout").pull(image.digest, tmp_path / "out")
        assert image.blobs[1].descriptor.size > ANY_RATIO
    assert (tmp_path / "out" / "model.tflite").stat().st_size == ANY_RATIO + 1
