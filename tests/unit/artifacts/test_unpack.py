"""Images that somebody made to do harm, or by mistake: whatever their digests say, nothing of them stays."""

import gzip
import json
import tarfile
from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, ModelPressError
from modelpress.artifacts.image import LAYER_TYPE, MANIFEST_TYPE, pack, sha256_digest
from modelpress.artifacts.stores.layout import LayoutStore
from tests.support.artifact_folders import contents, make
from tests.support.hostile.images import HostileImages, special, tar_of


@pytest.fixture
def hostile(tmp_path: Path) -> HostileImages:
    return HostileImages(tmp_path / "layout")


def refused(hostile: HostileImages, digest: str) -> str:
    """Pull, expect ArtifactCorrupt and that nothing was written; return the message."""
    root = hostile.folder.parent
    before = contents(root)
    with pytest.raises(ModelPressError) as caught:
        LayoutStore(hostile.folder).pull(digest, root / "deep" / "out")
    assert isinstance(caught.value, DataError)
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert contents(root) == before
    return caught.value.message


@pytest.mark.parametrize(
    "name",
    ["../escape", "/etc/escape", "a/../../escape", "./a", "a//b", ".hidden", "a\\b", "a\nb", "-a", "a/"],
)
def test_a_name_that_is_not_plain_and_relative_is_refused(hostile: HostileImages, name: str) -> None:
    message = refused(hostile, hostile.of_tar(tar_of((tarfile.TarInfo(name), b"content"))))
    assert "is not a regular file with a plain relative name" in message


@pytest.mark.parametrize(
    "entry",
    [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.LNKTYPE, "model.tflite"),
        special("device", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
        special("folder", tarfile.DIRTYPE),
    ],
    ids=lambda entry: str(entry.type),
)
def test_what_is_no_regular_file_is_refused(hostile: HostileImages, entry: tarfile.TarInfo) -> None:
    model = (tarfile.TarInfo("model.tflite"), b"model")
    assert "is not a regular file" in refused(hostile, hostile.of_tar(tar_of(model, (entry, b""))))


def test_a_file_that_comes_twice_is_refused(hostile: HostileImages) -> None:
    twice = tar_of((tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a"), b"2"))
    assert "comes twice" in refused(hostile, hostile.of_tar(twice))


def test_a_file_below_a_file_is_refused(hostile: HostileImages) -> None:
    below = tar_of((tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a/b"), b"2"))
    assert "a/b" in refused(hostile, hostile.of_tar(below))


def test_more_files_than_an_artifact_has_are_refused(hostile: HostileImages) -> None:
    many = tar_of(*((tarfile.TarInfo(f"f{number}"), b"") for number in range(10_001)))
    assert "more than 10000 entries" in refused(hostile, hostile.of_tar(many))


def test_a_size_beyond_every_model_is_refused_before_it_is_written(hostile: HostileImages) -> None:
    entry = tarfile.TarInfo("model.tflite")
    entry.size = 2**40
    header = entry.tobuf(tarfile.GNU_FORMAT)
    assert "bytes" in refused(hostile, hostile.of_tar(header + bytes(512 * 20)))


def test_a_layer_that_is_longer_than_said_is_refused(hostile: HostileImages) -> None:
    tar = tar_of((tarfile.TarInfo("a"), b"1"))
    layer = gzip.compress(tar)
    short = hostile.put(layer, LAYER_TYPE, len(layer) - 1)
    assert "is longer than" in refused(hostile, hostile.image(layer, sha256_digest(tar), layers=[short]))


def test_a_tar_that_differs_from_its_diff_id_is_refused(hostile: HostileImages) -> None:
    tar = tar_of((tarfile.TarInfo("a"), b"1"))
    wrong = sha256_digest(b"another")
    assert wrong in refused(hostile, hostile.image(gzip.compress(tar), wrong))


@pytest.mark.parametrize(
    "layer",
    [b"", b"no gzip", gzip.compress(b"no tar at all" * 100), gzip.compress(b"a")[:-4]],
    ids=["empty", "no gzip", "no tar", "cut"],
)
def test_a_layer_that_is_no_gzip_tar_is_refused(hostile: HostileImages, layer: bytes) -> None:
    refused(hostile, hostile.image(layer, sha256_digest(b"")))


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": "x"},
        {"layers": [{}]},
        {"layers": [{"mediaType": LAYER_TYPE, "digest": "sha256:x", "size": 1}]},
        {"layers": [{"mediaType": LAYER_TYPE, "digest": f"sha256:{'0' * 64}", "size": -1}]},
        {"layers": [{"mediaType": LAYER_TYPE, "digest": f"sha256:{'0' * 64}", "size": "1"}]},
        {"layers": [{"mediaType": "text/plain", "digest": f"sha256:{'0' * 64}", "size": 1}]},
        {"config": None},
        {"mediaType": "application/vnd.oci.image.index.v1+json"},
        {"layers": []},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
def test_an_image_that_is_no_artifact_is_refused(hostile: HostileImages, changes: dict[str, object]) -> None:
    tar = tar_of((tarfile.TarInfo("a"), b"1"))
    refused(hostile, hostile.image(gzip.compress(tar), sha256_digest(tar), **changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(hostile: HostileImages, content: bytes) -> None:
    refused(hostile, str(hostile.put(content, MANIFEST_TYPE)["digest"]))


def test_files_that_differ_from_manifest_json_are_refused(hostile: HostileImages, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    entries = [(tarfile.TarInfo(name), content) for name, content in contents(folder).items()]
    changed = [(entry, b"changed" if entry.name == "model.tflite" else content) for entry, content in entries]
    assert "sha256 is" in refused(hostile, hostile.of_tar(tar_of(*changed)))


def test_the_same_writer_makes_an_image_that_is_accepted(hostile: HostileImages, tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    entries = [(tarfile.TarInfo(name), content) for name, content in contents(folder).items()]
    LayoutStore(hostile.folder).pull(hostile.of_tar(tar_of(*entries)), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder)
    with pack(tmp_path / "out") as image:
        assert len(image.blobs) == 3
