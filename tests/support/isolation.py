"""Keeps tests from TensorFlow, sockets and processes.

An audit hook of Python sees all three, whichever library asks; pytest-socket sees the sockets alone.
"""

import contextlib
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# the second is how multiprocessing starts a new interpreter, of which there is no event
_MODULES = {"tensorflow": "imports TensorFlow", "multiprocessing.popen_spawn_posix": "starts a process"}
_PROCESSES = {
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
}
_SOCKETS = {"socket.bind", "socket.connect", "socket.getaddrinfo"}
_INTERNET = (socket.AF_INET, socket.AF_INET6)  # an event loop makes a pair of Unix sockets for itself


class Isolation:
    """Refuses what it sees while `enforced`, and remembers it: a refusal in another thread ends no test."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._enforced = False
        self._imports_only = False
        sys.addaudithook(self._hear)  # for as long as the process lives

    @contextlib.contextmanager
    def enforced(self, *, imports_only: bool = False) -> Iterator[None]:
        """Refuse until the block ends; `seen` then has what was refused."""
        self.seen.clear()
        self._enforced, self._imports_only = True, imports_only
        try:
            yield
        finally:
            self._enforced = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._enforced:
            return
        if event == "import":
            what = _MODULES.get(arguments[0])
        elif self._imports_only:
            return
        elif event in _PROCESSES:
            what = "starts a process"
        elif event in _SOCKETS or (event == "socket.__new__" and arguments[1] in _INTERNET):
            what = "opens a socket"
        else:
            return
        if what:
            self.seen.append(f"a test of tests/unit {what}: its place is tests/integration")
            pytest.fail(self.seen[-1])  # no Exception, which the code under test might catch
