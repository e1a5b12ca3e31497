"""What an action that may be refused costs: its error, and the growth of resident memory while it runs."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelpress.api.errors import ModelPressError


def measured(action: Callable[[], object]) -> dict[str, Any]:
    """Return {"error": class or null, "exit": code, "reason", "message", "peak"}.

    `peak` is the growth of resident memory over what the process held before, in bytes.
    """
    before = _start()
    answer: dict[str, Any] = {"error": None, "exit": 0, "reason": None, "message": None}
    try:
        action()
    except ModelPressError as error:
        answer |= {"error": type(error).__name__, "exit": error.exit_code}
        answer |= {"reason": error.reason.value, "message": error.message}
    except BaseException as error:
        answer |= {"error": type(error).__name__, "exit": 70, "message": str(error)[:500]}
    return answer | {"peak": _status("VmHWM") - before}


def _start() -> int:
    """Give free memory back, forget the peak so far; return the bytes that are held."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in text.splitlines() if line.startswith(key)).split()[1])
