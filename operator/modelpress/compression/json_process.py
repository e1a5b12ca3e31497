"""A process of ours that answers each line of JSON with one: the client, and how the process begins.

What may crash, or take memory that this process should not, runs there. It computes on CPUs only.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from modelpress import logs


class JsonProcess:
    """`python -m MODULE ARGUMENTS`; what it prints beside its answers is appended to `log`."""

    def __init__(self, module: str, log: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file
            )
        self.pid = self._process.pid

    def ask(self, request: Any, seconds: float | None = None) -> dict[str, Any] | None:
        """Return the answer; None where the process has ended, or takes longer than `seconds`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            if seconds is None or select.select([self._process.stdout], [], [], seconds)[0]:
                line = self._process.stdout.readline()
        if not line:
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def wait(self) -> int:
        """Return the exit code of a process that ends."""
        return self._process.wait()

    def close(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.communicate()


def begin() -> IO[str]:
    """Prepare this process before it imports a runtime; return where its answers go."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what runtimes print must not mix with the answers
    logs.quiet_tensorflow()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    return answers


def say(answers: IO[str], answer: Any) -> None:
    """Write an answer."""
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
