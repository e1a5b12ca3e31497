"""Images whose cost is memory, disk or time are refused before they have it: pods start with them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.hostile.images import HostileImages, rows
from tests.support.hostile.process import environment

ROWS = list(rows())
IDS = [row.name for row in ROWS]
NOISE = 32 * 2**20  # of resident memory: pages that the allocator takes at once, code that is run first
LARGEST = 2**26  # bytes that may be written


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("hostile")
    images = HostileImages(folder / "layout")
    sizes, digests = {}, {}
    for row in ROWS:
        before = _size(images.folder)
        digests[row.name] = row.build(images)
        sizes[row.name] = _size(images.folder) - before
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile.pull", str(images.folder), str(LARGEST)],
        input="\n".join([digests[IDS[0]], *digests.values()]),  # the first time runs code for the first time
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    _, *lines = done.stdout.splitlines()
    found = zip(IDS, map(json.loads, lines), strict=True)
    return {name: answer | {"size": sizes[name]} for name, answer in found}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_it_is_refused_in_one_line(answers: dict[str, dict[str, Any]], row: Any) -> None:
    answer = answers[row.name]
    assert (answer["error"], answer["reason"]) == ("DataError", "ArtifactCorrupt"), answer
    assert row.words in answer["message"]
    assert answer["message"].isprintable()
    assert len(answer["message"]) <= 1000


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_its_memory_stays_under_twice_the_file(answers: dict[str, dict[str, Any]], row: Any) -> None:
    peak, size = answers[row.name]["peak"], answers[row.name]["size"]
    assert peak <= 2 * size + NOISE, f"{peak / 2**20:.0f} MiB for an image of {size / 2**20:.2f} MiB"
