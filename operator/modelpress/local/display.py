"""What `modelpress run` and `modelpress compress` show while they work: bars on a terminal, lines elsewhere.

Everything goes to standard error; standard output is for results.
"""

import json
import sys
import threading
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from modelpress.api import names
from modelpress.api.text import printable

_ALWAYS_SHOWN = ("WARNING", "ERROR", "CRITICAL")
_SHOWN = {names.JOB: ("WARNING",)}  # a Job's error is also its result, and said as such
_SHARE = 0.25  # without a terminal, a long step says a line each quarter


class Display:
    """Progress of one run; methods may be called from any thread."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._lock = threading.Lock()
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bars: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._progress: Progress | None = None
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
                console=self._console,
                redirect_stdout=False,  # results must stay on standard output
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_bars()

    def end_bars(self) -> None:
        """Leave the bars as they are; what follows is shown as lines."""
        with self._lock:
            if self._progress:
                self._progress.stop()
            self._progress = None

    def say(self, text: str) -> None:
        """Show a line; what it quotes may be of a manifest, a model or an answer."""
        with self._lock:
            self._console.print(printable(text), markup=False, emoji=False)

    def log(self, role: str, line: str) -> None:
        """Take a line of a container's output: draw its progress, show its warnings and errors."""
        entry = _parse(line)
        if entry is None:
            if self._verbose:
                self.say(f"{role}: {line}")
            return
        progress = entry.get("progress")
        if isinstance(progress, dict):
            self.advance(**progress)
        elif self._verbose or entry.get("level") in _SHOWN.get(role, _ALWAYS_SHOWN):
            self.say(f"{role}: {entry['message']}")

    def advance(self, step: str, done: int, total: int, **facts: Any) -> None:
        """Show how far a step has come; `facts` are shown behind the bar."""
        step = printable(step)
        text = printable(" ".join(_fact(name, value) for name, value in facts.items()))
        with self._lock:
            if self._progress:
                if step not in self._bars:
                    self._bars[step] = self._progress.add_task(step, facts="")
                self._progress.update(self._bars[step], completed=done, total=total, facts=text)
                return
            share = done / total if total else 1.0
            if share >= 1.0 or share >= self._said.get(step, -1.0) + _SHARE:
                self._said[step] = share
                line = f"{step} {done}/{total} {text}".rstrip()
                self._console.print(line, markup=False, emoji=False)


def _fact(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "message" in entry else None
