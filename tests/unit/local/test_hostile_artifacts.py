"""JSON files of an artifact or layout of a stranger: one line, whatever their size, depth or numbers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelpress import cli
from modelpress.api.errors import DataError
from modelpress.artifacts import documents, manifest

LIMITS = {"report.json": documents.MAX_REPORT, "index.json": documents.MAX_INDEX}
CONTENTS: dict[str, bytes] = {
    "lists": b"[" * 200_000,
    "lists in a field": b'{"manifests": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "maps": b'{"a":' * 200_000,
    "digits": b'{"schemaVersion": ' + b"9" * 6_000 + b', "manifests": []}',
    "an exponent": b'{"schemaVersion": 1e999999, "manifests": [{"digest": 1e999999}]}',
    "another type": b'{"schemaVersion": [1], "manifests": {"a": 1}}',
    "no text": b"\xff\xfe\x00",
    "half a surrogate pair": b'{"name": "\\ud800", "manifests": [{"digest": "\\ud800"}]}',
    "a digest that is a path": b'{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}',
    "nothing": b"",
}


def report(folder: Path, name: str) -> str:
    """Run `modelpress report` on a folder with a damaged file of this name, and return what it says."""
    if name == "index.json":
        (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    result = CliRunner().invoke(cli.main, ["report", str(folder)])
    assert (result.exit_code, result.stdout) == (65, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize("name", ["report.json", "index.json"])
@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_file_is_one_line(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(CONTENTS[content])
    assert len(report(tmp_path, name)) < 1_000


def endless(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(2**40)  # without a block on the disk
    return path


@pytest.mark.parametrize("name", ["report.json", "index.json"])
def test_no_more_is_read_than_may_be(name: str, tmp_path: Path) -> None:
    path = endless(tmp_path / name)
    assert report(tmp_path, name) == f"{path}: longer than {LIMITS[name]} bytes"


def test_no_more_of_a_manifest_is_read_than_may_be(tmp_path: Path) -> None:
    path = endless(tmp_path / manifest.MANIFEST_FILE)
    with pytest.raises(DataError, match=f"^{path}: longer than {documents.MAX_MANIFEST} bytes$"):
        manifest.load(tmp_path)
