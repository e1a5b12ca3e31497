"""pvc:// sources: files and directories of a mounted claim, and nothing beside it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelpress.api import contract
from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError, ModelPressError, UsageError
from modelpress.api.spec import Source
from modelpress.api.values import parse_claim
from modelpress.artifacts.digests import directory_sha256
from modelpress.artifacts.sources.base import Fetched, fetch
from tests.support.artifact_folders import contents
from tests.support.unnamed import unnamed_user

CONTENT = b"a model\n" * 1000


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mounted claim `models`, with a secret file beside it."""
    folder = tmp_path / "claims" / "models"
    folder.mkdir(parents=True)
    (tmp_path / "claims" / "secret").write_text("of somebody else")
    monkeypatch.setenv(contract.CLAIMS, str(tmp_path / "claims"))
    return folder


def get(uri: str, tmp_path: Path, sha256: str | None = None) -> Fetched:
    return fetch(Source(uri=uri, sha256=sha256), tmp_path / "out", secrets=None, what="spec.model")


def test_a_file_arrives_with_its_sha256(claim: Path, tmp_path: Path) -> None:
    (claim / "v3").mkdir()
    (claim / "v3" / "m.keras").write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    fetched = get("pvc://models/v3/m.keras", tmp_path, sha256)
    assert (fetched.path.name, fetched.sha256) == ("m.keras", sha256)
    assert fetched.path.read_bytes() == CONTENT
    with pytest.raises(DataError) as caught:
        get("pvc://models/v3/m.keras", tmp_path, "0" * 64)
    assert caught.value.reason is Reason.DIGEST_MISMATCH


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_arrives_whole(claim: Path, tmp_path: Path, slash: str) -> None:
    (claim / "saved" / "variables").mkdir(parents=True)
    (claim / "saved" / "saved_model.pb").write_bytes(b"graph")
    (claim / "saved" / "variables" / "variables.index").write_bytes(b"index")
    fetched = get(f"pvc://models/saved{slash}", tmp_path, directory_sha256(claim / "saved"))
    assert contents(fetched.path) == {"saved_model.pb": b"graph", "variables/variables.index": b"index"}


def test_links_are_followed_within_the_claim(claim: Path, tmp_path: Path) -> None:
    (claim / "v3").mkdir()
    (claim / "v3" / "m.keras").write_bytes(CONTENT)
    (claim / "latest").symlink_to("v3")
    (claim / "saved").mkdir()
    (claim / "saved" / "saved_model.pb").symlink_to("../v3/m.keras")
    assert get("pvc://models/latest/m.keras", tmp_path).path.read_bytes() == CONTENT
    assert contents(get("pvc://models/saved", tmp_path).path) == {"saved_model.pb": CONTENT}


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "loop", "/proc/self/environ"])
@pytest.mark.parametrize("place", ["as the file", "in a directory"])
def test_a_link_out_of_the_claim_is_refused(claim: Path, tmp_path: Path, target: str, place: str) -> None:
    folder = claim / "saved"
    folder.mkdir()
    link = claim / "m.keras" if place == "as the file" else folder / "saved_model.pb"
    deeper = "../" if place == "in a directory" and target == "../secret" else ""
    link.symlink_to(link.name if target == "loop" else f"{deeper}{target}")
    uri = "pvc://models/m.keras" if place == "as the file" else "pvc://models/saved"
    with pytest.raises(DataError) as caught:
        get(uri, tmp_path)
    assert caught.value.reason is Reason.INVALID_MODEL
    assert not any((tmp_path / "out").rglob("*"))


def test_a_file_that_becomes_a_link_while_it_is_read_is_refused(
    claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim / "m.keras").write_bytes(CONTENT)
    opened = Path.open

    def switch(path: Path, mode: str = "r") -> object:
        if path == claim / "m.keras":
            path.unlink()
            path.symlink_to("../secret")
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", switch)
    with pytest.raises(DataError, match="changed meanwhile"):
        get("pvc://models/m.keras", tmp_path)


@pytest.mark.parametrize(
    ("uri", "kind", "message"),
    [
        ("pvc://models/none.keras", MissingError, "the claim models has no none.keras"),
        ("pvc://models/m.keras/", DataError, "is not a file or directory"),
        ("pvc://models/pipe", DataError, "is not a file or directory"),
        ("pvc://other/m.keras", UsageError, "the claim other is not mounted here"),
        ("pvc://models/../secret", UsageError, "must be pvc://CLAIM/PATH"),
        ("pvc://models/a/../../secret", UsageError, "must be pvc://CLAIM/PATH"),
        ("pvc://../secret", UsageError, "must be pvc://CLAIM/PATH"),
        ("pvc://models", UsageError, "must be pvc://CLAIM/PATH"),
        ("pvc://models/a\x00b", UsageError, "the URI holds a control character"),
    ],
)
def test_what_cannot_be_read_is_final_and_names_the_claim_and_the_path(
    claim: Path, tmp_path: Path, uri: str, kind: type[ModelPressError], message: str
) -> None:
    (claim / "m.keras").write_bytes(CONTENT)
    os.mkfifo(claim / "pipe")
    with pytest.raises(kind) as caught:
        get(uri, tmp_path)
    assert message in caught.value.message
    assert caught.value.message.startswith("spec.model: ")
    assert "\n" not in caught.value.message


def test_without_mounted_claims_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(contract.CLAIMS, raising=False)
    with pytest.raises(UsageError, match="only the pods of Jobs have claims"):
        get("pvc://models/m.keras", tmp_path)


_PROGRAM = """
import sys
from pathlib import Path
from modelpress.api.errors import PermissionDenied
from modelpress.api.spec import Source
from modelpress.artifacts.sources.base import fetch
try:
    fetch(Source(uri=sys.argv[1]), Path(sys.argv[2]), secrets=None, what="spec.model")
except PermissionDenied as error:
    print(error.message)
"""


@pytest.mark.parametrize("scheme", ["pvc", "file"])
@pytest.mark.parametrize(
    ("closed", "path"),
    [
        ("v3", "v3/m.keras"),
        ("v3", "v3/none.keras"),
        ("v3", "v3/inner/m.keras"),
        ("v3/inner", "v3/inner"),
        ("v3/m.keras", "v3/m.keras"),
    ],
)
def test_what_may_not_be_entered_or_read_is_unauthorized_and_not_missing(
    claim: Path, tmp_path: Path, scheme: str, closed: str, path: str
) -> None:
    (claim / "v3" / "inner").mkdir(parents=True)
    for file in ("v3/m.keras", "v3/inner/m.keras"):
        (claim / file).write_bytes(CONTENT)
    uri = f"pvc://models/{path}" if scheme == "pvc" else (claim / path).as_uri()
    (claim / closed).chmod(0)
    try:  # without the rights of root
        command = [*unnamed_user(), sys.executable, "-c", _PROGRAM, uri, str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        (claim / closed).chmod(0o700)
    assert done.stdout.startswith(f"spec.model: {uri}: permission denied: {claim}/v3"), done.stderr


@pytest.mark.parametrize(
    "uri",
    [
        "pvc://" + "a" * 254 + "/m",
        "pvc://A/m",
        "pvc://a_b/m",
        "pvc://-a/m",
        "pvc://a/",
        "pvc://a//m",
        "s3://a/m",
    ],
)
def test_what_is_no_claim(uri: str) -> None:
    with pytest.raises(ValueError, match="PersistentVolumeClaim"):
        parse_claim(uri)


def test_a_claim_and_its_path() -> None:
    assert parse_claim("pvc://team.models-1/v1..2/.hidden/m?x#y/") == ("team.models-1", "v1..2/.hidden/m?x#y")
