"""Peak memory of this process and all that it started, such as the converter's.

A process of its own takes the samples: a thread would not run while TensorFlow or numpy hold the lock of the
interpreter, which they do where memory peaks. It needs the /proc of Linux; elsewhere nothing is measured.
Pages that processes share, such as TensorFlow's code, count for each of them: the sum is an upper bound.

Imports nothing but the standard library: the samples must cost no memory worth naming.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")  # version 2; those of version 1 are below
_INTERVAL = 0.02  # seconds; filling 100 MB takes longer
_LOOK = 1.0  # seconds between two looks for new processes, which take longer than a sample


class PeakMeter:
    """Measures from the start of the context; one thread may use it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if (_PROC / "self" / "statm").exists():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "modelpress.compression.memory", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def peak(self) -> int | None:
        """Return the largest sum in bytes since the last call; None where it cannot be measured."""
        if self._process is None:
            return None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            return None
        return int(answer) if answer else None


def available() -> int:
    """Return how many bytes may still be taken: of the machine, and of the control group of a container.

    0 where that is not known.
    """
    found = [
        _fields(_PROC / "meminfo").get("MemAvailable", 0) * 1024,
        _left(_GROUPS, "memory.max", "memory.current", "inactive_file"),
        _left(_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ]
    return min(left for left in found if left is not None)


def _left(group: Path, limit: str, usage: str, droppable: str) -> int | None:
    """Return what a control group may still take, beside pages that the kernel can drop; None: no limit."""
    most, used = _read(group / limit).strip(), _read(group / usage).strip()
    if not most.isdigit() or not used.isdigit():
        return None
    return max(0, int(most) - int(used) + _fields(group / "memory.stat").get(droppable, 0))


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file of the kernel with a name and a number in each line."""
    lines = (line.replace(":", " ").split() for line in _read(path).splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def tree(root: int, parents: Mapping[int, int]) -> set[int]:
    """Return `root` and all processes below it; `parents` are the parents of processes."""
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def main(root: int) -> None:
    """Answer each line of standard input with the largest sum since the last one, until it ends."""
    unread = select.poll()
    unread.register(sys.stdin, select.POLLIN | select.POLLHUP)
    peak, looked, processes = 0, -_LOOK, {root}
    while True:
        asked = bool(unread.poll(_INTERVAL * 1000))
        if time.monotonic() - looked > _LOOK:
            processes, looked = tree(root, _parents()) - {os.getpid()}, time.monotonic()
        peak = max(peak, _resident(processes))
        if asked:
            if not sys.stdin.readline():
                return
            print(peak, flush=True)  # noqa: T201 - the answer
            peak = 0


def _parents() -> dict[int, int]:
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (text := _read(entry / "stat")):
            fields = text.rsplit(")", 1)[1].split()  # the name before it may hold anything
            found[int(entry.name)] = int(fields[1])
    return found


def _resident(processes: Iterable[int]) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    texts = (_read(_PROC / str(pid) / "statm") for pid in processes)
    return sum(page * int(text.split()[1]) for text in texts if text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


if __name__ == "__main__":
    main(int(sys.argv[1]))
