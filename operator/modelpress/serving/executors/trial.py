"""Runs something once in a child process: what ends the child does not end the worker.

The child is a copy of this process, which costs a few milliseconds and no memory but what it changes. It has
this thread alone, so it must use nothing that another thread may hold; it ends without cleaning up.
"""

import os
import signal
import sys
from collections.abc import Callable


def died_of(action: Callable[[], object]) -> signal.Signals | None:
    """Run `action` in a child process, and return the signal that ended it; None where none did.

    Errors of `action` are nothing: whoever calls it next meets them. Where a process cannot be copied safely
    beside threads (macOS, Windows), nothing is run.
    """
    if sys.platform != "linux":
        return None
    child = os.fork()
    if child == 0:
        _run(action)
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None


def _run(action: Callable[[], object]) -> None:
    try:
        for number in (signal.SIGTERM, signal.SIGINT):  # handlers would tell the worker's own loop
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # the worker logs the same
        action()
    finally:
        os._exit(0)
