"""Nothing outlives us: a tiny process kills the process groups that it was given when its parent is gone.

It works on every Unix and also ends the children of a container's process, which a parent-death signal does
not. Run as a script it is the janitor itself, so this module imports only the standard library.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable


def kill_group(group: int) -> None:
    """Send SIGKILL to every process of a group; a group that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class Janitor:
    """The parent's end: one line of text for each process group that starts or ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C of the terminal must not reach it
            text=True,
        )

    def watch(self, group: int) -> None:
        """Kill this group when our process ends, however it ends."""
        self._write(group)

    def forget(self, group: int) -> None:
        """The group has ended: its number may soon belong to somebody else."""
        self._write(-group)

    def _write(self, number: int) -> None:
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()


@functools.cache
def shared() -> Janitor:
    """Return the one janitor of this process, started at the first call."""
    return Janitor()


def wait_for_orphans(lines: Iterable[str]) -> None:
    """Read group numbers (negative: forget it) until the parent's end closes, then kill what is left."""
    groups: set[int] = set()
    for line in lines:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    for group in groups:
        kill_group(group)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    wait_for_orphans(sys.stdin)
