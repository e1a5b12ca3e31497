"""Runs something once in a child process: what ends the child does not end the worker.

The child is a copy of this process, which costs a few milliseconds and no memory but what it changes. It has
this thread alone, so it must use nothing that another thread may hold; it ends without cleaning up.
"""

import json
import os
import signal
import sys
from collections.abc import Callable

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError


def died_of(action: Callable[[], object]) -> signal.Signals | None:
    """Run `action` in a child process, and return the signal that ended it; None where none did.

    Raises the DataError that `action` raised: what read memory that is not its own and ended well there may
    end the process that tries it again. Other errors are nothing: whoever calls it next meets them. Where a
    process cannot be copied safely beside threads (macOS, Windows), nothing is run.
    """
    if sys.platform != "linux":
        return None
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        _run(action, tells)
    os.close(tells)
    with os.fdopen(told) as words:
        said = words.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status))
    if said:
        reason, message = json.loads(said)
        raise DataError(Reason[reason], message)
    return None


def _run(action: Callable[[], object], tells: int) -> None:
    try:
        for number in (signal.SIGTERM, signal.SIGINT):  # handlers would tell the worker's own loop
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # stderr: the worker logs the same
        action()
    except DataError as error:
        os.write(tells, json.dumps([error.reason.name, error.message]).encode())
    finally:
        os._exit(0)
