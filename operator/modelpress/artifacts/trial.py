"""Tries a model once in a child process: a model that ends the process that runs it does not end this one.

Settings of operators that LiteRT does not check can do that. The child is a copy of this process, which costs
a few milliseconds and no memory but what it changes. It has this thread alone, so it must use nothing that
another thread may hold; it ends without cleaning up.
"""

import json
import os
import signal
import sys
from collections.abc import Callable

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError


def check(name: str, load_and_call: Callable[[], object], reason: Reason) -> None:
    """Run `load_and_call` in a child process. Raises DataError where it does, and where it ends the child.

    `name` is of the model, `reason` that of one that ends its process; one that the kernel kills is
    OutOfMemory. The child's word is final: what read memory that is not its own and ended well there may end
    the process that tries it again. Other errors than DataError are nothing: whoever calls the model next
    meets them. Where a process cannot be copied safely beside threads (macOS, Windows), nothing is run.
    """
    if sys.platform != "linux":
        return
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        _run(load_and_call, tells)
    os.close(tells)
    with os.fdopen(told) as words:
        said = words.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise _ended(name, signal.Signals(os.WTERMSIG(status)), reason)
    if said:
        of_child, message = json.loads(said)
        raise DataError(Reason[of_child], message)


def _ended(name: str, number: signal.Signals, reason: Reason) -> DataError:
    if number is signal.SIGKILL:
        return DataError(Reason.OUT_OF_MEMORY, f"{name} takes more memory than there is")
    return DataError(reason, f"{name} ends the process that loads or calls it: {number.name}")


def _run(load_and_call: Callable[[], object], tells: int) -> None:
    try:
        for number in (signal.SIGTERM, signal.SIGINT):  # handlers would tell the parent's own loop
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # stderr: the parent logs the same
        load_and_call()
    except DataError as error:
        os.write(tells, json.dumps([error.reason.name, error.message]).encode())
    finally:
        os._exit(0)
