"""The demo as a user runs it, from nothing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[3]
SAMPLE = Path("manifests/samples/local/digits.yaml")


def _left(project: Path) -> list[list[str]]:
    """Return the command lines of processes that work in the folder, which pods and the run do."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and str(project) in process.cwd():
                found.append(process.cmdline())
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


def test_the_demo_trains_compresses_serves_and_compares(tmp_path: Path) -> None:
    (tmp_path / SAMPLE).parent.mkdir(parents=True)
    shutil.copy(PROJECT / SAMPLE, tmp_path / SAMPLE)
    command = [sys.executable, "-m", "modelpress.local.demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"accuracy on held-out images\D+([0-9.]+)%\D+([0-9.]+)%", done.stdout)
    assert min(map(float, accuracy)) > 90
    (sizes,) = re.findall(r"bytes\W+([0-9,]+)\W+([0-9,]+)\W+([0-9.]+)x smaller", done.stdout)
    before, after = (int(size.replace(",", "")) for size in sizes[:2])
    assert before / after == pytest.approx(float(sizes[2]), abs=0.01)
    assert re.search(r"a request over HTTP, batch 1\D+[0-9.]+ ms", done.stdout)
    digest = (tmp_path / "demo/digits.keras").exists() and re.findall(r"sha256:[0-9a-f]{64}", done.stdout)
    assert digest
    assert len(set(digest)) == 1
    assert "train " in done.stderr, "its progress"
    assert "compress " in done.stderr, "that of the compression"
    assert not _left(tmp_path)
