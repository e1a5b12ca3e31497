"""Runs `load_hostile`, and goes on after a file that ends the process."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Loaded:
    """`answers` of the files in their order; `libraries` are the files that libraries made on import."""

    answers: list[dict[str, Any]]
    libraries: set[str]


def load_all(files: Sequence[tuple[Path, bool]], warm: Sequence[Path], work: Path, home: Path) -> Loaded:
    """Load all files, (path, is data), in one process whose home and current folder is `home`.

    A file that ends the process is answered with the error Crash. `warm` are models that are loaded first.
    """
    waiting = list(files)
    answers: list[dict[str, Any]] = []
    libraries: set[str] = set()
    while waiting:
        request = {
            "warm": [str(path) for path in warm],
            "work": str(work),
            "files": [[str(path), is_data] for path, is_data in waiting],
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.hostile.load"],
            input=json.dumps(request),
            env=environment(home),
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        first, *lines = done.stdout.splitlines() or [""]
        assert first, done.stderr
        libraries |= set(json.loads(first))
        answers += [json.loads(line) for line in lines]
        waiting = waiting[len(lines) :]
        if waiting:
            crash = f"ended the process with {done.returncode}: {done.stderr[-500:]}"
            answers.append({"error": "Crash", "message": crash, "exit": 70, "reason": None, "peak": 0})
            waiting.pop(0)
    return Loaded(answers, libraries)


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a program whose home and temporary folder is `home`."""
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "operator"), os.environ.get("PYTHONPATH", "")])
    places = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **places, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
