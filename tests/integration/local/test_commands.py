"""Commands that start processes of their own."""

import subprocess
import sys
from pathlib import Path

from tests.support.command_line import GOOD, TWO_PODS, modelpress, write


def test_run_refuses_what_is_not_supported_yet(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + TWO_PODS)
    result = modelpress("run", "-f", path, "--state", str(tmp_path / "state"))
    assert result.exit_code == 64
    assert "spec.parallelism.podsPerReplica: a value above 1" in result.stderr


def test_fetch_without_its_environment_is_64() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "modelpress", "fetch"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={},
    )
    assert result.returncode == 64
    assert "MODELPRESS_ARTIFACT_DIGEST is not set" in result.stderr


def test_commands_import_only_what_they_need() -> None:
    program = (
        "import sys; from modelpress.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'tensorflow', 'kopf', 'kubernetes', 'rich', 'httptools', 's3fs'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.splitlines()[-1] == "[]"
