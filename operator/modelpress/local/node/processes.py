"""One process in a group of its own: its log, its signals, its exit code as a container would have it."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from modelpress.local.node import orphan_reaper

OnLine = Callable[[str], None]


class LoggedProcess:
    """A running process; its output goes to a file and, line by line, to a callback.

    When the process ends, whatever it left in its group is killed, as a container's end does.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, on_line: OnLine
    ) -> None:
        """Start `command` in `folder`. Raises OSError where it cannot be started."""
        self._popen = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        orphan_reaper.shared().watch(self._popen.pid)
        self.killed = False  # whether kill() ended it
        self._exited = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(log, on_line), daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._popen.pid

    def wait(self, timeout: float | None) -> int | None:
        """Return the exit code, 128 + N after signal N; None where it still runs after `timeout` seconds."""
        if not self._exited.wait(timeout):
            return None
        code = self._popen.returncode
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Send SIGTERM to the process itself, as the kubelet does."""
        self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the whole group."""
        if not self._exited.is_set():
            self.killed = True
            orphan_reaper.kill_group(self.pid)

    def _read(self, log: Path, on_line: OnLine) -> None:
        assert self._popen.stdout is not None
        with log.open("a", encoding="utf-8") as file, self._popen.stdout as stream:
            for line in stream:
                file.write(line)
                file.flush()
                with contextlib.suppress(Exception):  # a display must not break a pod
                    on_line(line.rstrip("\n"))

    def _wait(self) -> None:
        self._popen.wait()
        orphan_reaper.kill_group(self.pid)
        orphan_reaper.shared().forget(self.pid)
        self._reader.join()
        self._exited.set()
