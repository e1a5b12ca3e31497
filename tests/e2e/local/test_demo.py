"""The demo as a user runs it, three times: from nothing, again, and with a gate that cannot be met."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from modelpress.api.errors import DataError

PROJECT = Path(__file__).resolve().parents[3]
SAMPLE = Path("manifests/samples/local/digits.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample, in which nothing was ever trained."""
    folder = tmp_path_factory.mktemp("project")
    (folder / SAMPLE).parent.mkdir(parents=True)
    shutil.copy(PROJECT / SAMPLE, folder / SAMPLE)
    return folder


@pytest.fixture(scope="module")
def first(project: Path) -> "subprocess.CompletedProcess[str]":
    return _demo(project)


def _demo(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "modelpress.local.demo", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


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


def test_the_demo_trains_compresses_serves_and_compares(
    project: Path, first: "subprocess.CompletedProcess[str]"
) -> None:
    assert first.returncode == 0, first.stderr
    (accuracy,) = re.findall(r"accuracy on held-out images\D+([0-9.]+)%\D+([0-9.]+)%", first.stdout)
    assert min(map(float, accuracy)) > 90
    (sizes,) = re.findall(r"bytes\W+([0-9,]+)\W+([0-9,]+)\W+([0-9.]+)x smaller", first.stdout)
    before, after = (int(size.replace(",", "")) for size in sizes[:2])
    assert before / after == pytest.approx(float(sizes[2]), abs=0.01)
    assert re.search(r"a request over HTTP, batch 1\D+[0-9.]+ ms", first.stdout)
    digest = (project / "demo/digits.keras").exists() and re.findall(r"sha256:[0-9a-f]{64}", first.stdout)
    assert digest
    assert len(set(digest)) == 1
    assert "train " in first.stderr, "its progress"
    assert "compress " in first.stderr, "that of the compression"
    assert not _left(project)


def test_a_second_run_reuses_the_trained_model_and_the_artifact_and_says_so(
    project: Path, first: "subprocess.CompletedProcess[str]"
) -> None:
    trained = (project / "demo/digits.keras").stat().st_mtime_ns
    second = _demo(project)
    assert second.returncode == 0, second.stderr
    assert "is there: not trained again" in second.stderr
    assert "reused the artifact of an earlier run" in second.stderr
    assert (project / "demo/digits.keras").stat().st_mtime_ns == trained
    found = [set(re.findall(r"sha256:[0-9a-f]{64}", run.stdout)) for run in (first, second)]
    assert found[0] == found[1]
    assert not _left(project)


def test_a_gate_that_cannot_be_met_ends_the_demo_with_reason_and_report(
    project: Path, first: "subprocess.CompletedProcess[str]"
) -> None:
    refused = _demo(project, "--min-score", "100%")
    assert first.returncode == 0
    assert refused.returncode == DataError.exit_code
    assert re.search(r"error: EvaluationFailed: minScore: Accuracy is [0-9.]+%, below 100%", refused.stderr)
    assert "Scores on 360 rows" in refused.stdout
    assert not _left(project)
