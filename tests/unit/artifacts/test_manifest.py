import json
from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError
from modelpress.artifacts.manifest import load, load_verified, parse
from tests.support.artifact_folders import make, manifest


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    written = load_verified(folder)
    assert parse(written.to_json(), "copy") == written
    assert json.loads((folder / "manifest.json").read_text())["inputs"] == [
        {"name": "x", "shape": [-1, 64], "dtype": "float32"}
    ]


def test_a_changed_file_is_corrupt_and_a_missing_one_lost(tmp_path: Path) -> None:
    folder = make(tmp_path / "artifact")
    model = bytearray((folder / "model.tflite").read_bytes())
    model[1000] ^= 1
    (folder / "model.tflite").write_bytes(model)
    with pytest.raises(DataError, match=r"model\.tflite: sha256 is") as corrupt:
        load_verified(folder)
    assert corrupt.value.reason is Reason.ARTIFACT_CORRUPT
    (folder / "model.tflite").unlink()
    with pytest.raises(MissingError, match=r"model\.tflite: no such file") as lost:
        load_verified(folder)
    assert lost.value.reason is Reason.ARTIFACT_LOST


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "../onnx"}, "form: "),
        ({"files": {"../model.tflite": "0" * 64}}, "files"),
        ({"files": {"model.tflite": "short"}}, "files"),
        ({"modelFile": "/etc/passwd"}, "modelFile"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [{"name": "x", "shape": [-2], "dtype": "float32"}]}, "inputs"),
        ({"inputs": [{"name": "x", "shape": [1], "dtype": "object_"}]}, "inputs"),
        ({"inputs": [{"name": "x", "shape": [1], "dtype": "<f4"}]}, "inputs"),
        ({"inputSizes": {"known": [[64, 1]], "memory": []}}, "inputSizes has shapes that are not those of"),
        ({"inputSizes": {"known": [[-1]], "memory": []}}, "inputSizes"),
        ({"artifactKey": "x"}, "artifactKey"),
        ({"compressedBytes": -1}, "compressedBytes"),
        ({"schemaVersion": 2}, "schemaVersion 2 was written by a newer release"),
    ],
)
def test_what_a_manifest_must_not_say_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    wire = json.loads(manifest({"model.tflite": "0" * 64}).to_json()) | change
    (tmp_path / "manifest.json").write_text(json.dumps(wire))
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert "\n" not in caught.value.message


def test_fields_of_a_later_release_are_ignored() -> None:
    written = manifest({"model.tflite": "0" * 64})
    wire = json.loads(written.to_json()) | {"fromTheFuture": {"a": 1}}
    assert parse(json.dumps(wire), "copy") == written


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_not_a_manifest_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="is not an artifact"):
        load(tmp_path)
