"""Hostile model files and data sets: refused with the documented reason, and nothing else happens.

One process loads them all, with its home, temporary and current folder empty and watched; folders with a
secret and for payloads are watched by the kernel, and a port listens for connections.
"""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress.api.conditions import Reason
from tests.support.file_watch import FileWatch
from tests.support.hostile import files as hostile
from tests.support.hostile.files import HostileFiles, Row, Traps
from tests.support.hostile.process import environment, load_all
from tests.support.models.trained import DigitsModels

ROWS = hostile.table()
NOISE = 32 * 2**20  # of resident memory: pages that the allocator takes at once, code that is run first
REFUSED = [row for row in ROWS if not row.harmless]
IDS = [row.name for row in REFUSED]
CLI_ROWS = (
    "keras-Lambda",
    "h5-external-link",
    "tar-symlink",
    "saved-py_function",
)


@dataclass(frozen=True)
class Outcome:
    """What loading the files did."""

    answers: dict[str, dict[str, Any]]
    libraries: set[str]  # files that libraries make when they are imported
    paths: dict[str, Path]
    touched: list[str]  # files in the folder of the traps
    left: list[str]  # files outside of the work folder
    changed: list[str]  # hostile files that are not what they were
    connections: int
    traps: Traps


@pytest.fixture(scope="module")
def outcome(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "traps").mkdir()
    (folder / "traps/secret.txt").write_text("secret\n" * 4000)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        traps = Traps(folder / "traps/secret.txt", folder / "traps/marker", int(server.getsockname()[1]))
        paths = {}
        for row in ROWS:
            place = folder / "files" / row.name
            place.mkdir(parents=True)
            paths[row.name] = row.build(HostileFiles(place, digits_models, traps))
        digests = {name: _digest(path) for name, path in paths.items()}
        watch = FileWatch(folder / "traps")
        warm = (digits_models.functional, digits_models.functional_h5, digits_models.saved_model)
        empty = folder / "empty"
        empty.mkdir()
        files = [(paths[row.name], row.data) for row in ROWS]
        loaded = load_all(files, warm, folder / "work", empty)
        yield Outcome(
            {row.name: answer for row, answer in zip(ROWS, loaded.answers, strict=True)},
            loaded.libraries,
            paths,
            touched=watch.events(),
            left=[str(path.relative_to(empty)) for path in empty.rglob("*")],
            changed=[name for name, path in paths.items() if _digest(path) != digests[name]],
            connections=_accepted(server),
            traps=traps,
        )
        watch.close()


def _digest(path: Path) -> str:
    """Return a digest of a file, or of all files of a folder, without following links."""
    if path.is_dir():
        inner = sorted(item for item in path.rglob("*") if item.is_file() and not item.is_symlink())
        return " ".join(_digest(item) for item in inner)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _size(path: Path) -> int:
    inner = path.rglob("*") if path.is_dir() else [path]
    return sum(item.lstat().st_size for item in inner)


def _accepted(server: socket.socket) -> int:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return 0
    return 1


@pytest.mark.parametrize("row", REFUSED, ids=IDS)
def test_it_is_refused_with_one_line_and_the_reason(outcome: Outcome, row: Row) -> None:
    answer = outcome.answers[row.name]
    assert answer["error"] == "DataError", answer
    assert answer["exit"] == 65
    assert answer["reason"] == row.reason.value, answer
    assert answer["message"].startswith(outcome.paths[row.name].name)
    assert answer["message"].isprintable()
    assert len(answer["message"]) <= 1000
    assert row.words in answer["message"]
    assert "Traceback" not in answer["message"]


@pytest.mark.parametrize("row", REFUSED, ids=IDS)
def test_its_memory_stays_under_twice_the_file(outcome: Outcome, row: Row) -> None:
    peak, size = outcome.answers[row.name]["peak"], _size(outcome.paths[row.name])
    assert peak <= 2 * size + NOISE, f"{peak / 2**20:.0f} MiB for a file of {size / 2**20:.1f} MiB"


@pytest.mark.parametrize("row", [row for row in ROWS if row.harmless], ids=lambda row: row.name)
def test_what_no_signature_reaches_is_not_loaded(outcome: Outcome, row: Row) -> None:
    assert outcome.answers[row.name]["error"] is None, outcome.answers[row.name]


def test_no_secret_is_read_and_no_payload_runs(outcome: Outcome) -> None:
    assert outcome.touched == []


def test_nothing_is_written_outside_of_the_work_folder(outcome: Outcome) -> None:
    assert set(outcome.left) - outcome.libraries == set()
    assert outcome.changed == []


def test_nothing_connects_to_the_network(outcome: Outcome) -> None:
    assert outcome.connections == 0


def test_the_watch_sees_what_it_must(tmp_path: Path) -> None:
    watch = FileWatch(tmp_path)
    (tmp_path / "marker").touch()
    (tmp_path / "marker").read_text()
    assert set(watch.events()) == {"marker"}
    assert watch.events() == []
    watch.close()


@pytest.mark.parametrize("name", CLI_ROWS)
def test_the_command_line_says_it_in_one_line(
    outcome: Outcome, digits_models: DigitsModels, tmp_path: Path, name: str
) -> None:
    row = next(row for row in ROWS if row.name == name)
    manifest = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "hostile"},
        "spec": {
            "model": {"uri": outcome.paths[name].as_uri()},
            "data": {"evaluation": {"uri": digits_models.flat_data.as_uri()}},
            "compression": {"quantization": {"scheme": "Int8Dynamic"}},
            "evaluation": {"minScore": "50%"},
            "devices": {"type": "CPU"},
        },
    }
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    empty = tmp_path / "empty"
    empty.mkdir()
    watch = FileWatch(outcome.traps.secret.parent)
    done = subprocess.run(
        [sys.executable, "-m", "modelpress", "compress", "-f", "../manifest.yaml", "-o", "../out"],
        env=environment(empty),
        cwd=empty,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 65, done
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert row.words in errors[0]
    assert outcome.paths[name].name in errors[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert watch.events() == []
    assert [path.name for path in empty.iterdir() if not path.name.startswith(".")] == []  # .keras, .config
    watch.close()


def test_the_reasons_are_the_two_of_the_documentation() -> None:
    reasons = {row.reason for row in ROWS if not row.data}
    assert reasons == {Reason.INVALID_MODEL, Reason.UNSUPPORTED_MODEL}
