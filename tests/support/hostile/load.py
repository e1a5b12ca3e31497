"""Load model files and data sets, each measured, as a program of its own.

Reads JSON from standard input: {"warm": [paths of models], "work": folder, "files": [[path, is data]]}.
Prints one line of JSON of what libraries have left in the current folder, then one for each file: {"error":
class or null, "exit": code, "reason", "message", "peak"}, where `peak` is the growth of resident memory over
what the process held before, in bytes.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

from modelpress.api.errors import ModelPressError
from modelpress.compression.evaluation import dataset
from modelpress.models.load import load
from modelpress.models.types import TensorSpec

INPUT = TensorSpec("image", (-1, 64), "float32")
OUTPUT = TensorSpec("digit", (-1, 10), "float32")


def main() -> None:
    request = json.load(sys.stdin)
    work = Path(request["work"])
    for path in request["warm"]:
        load(Path(path), work)
    print(json.dumps(sorted(str(path) for path in Path().rglob("*"))), flush=True)
    for path, is_data in request["files"]:
        print(json.dumps(_measured(Path(path), work, is_data=is_data)), flush=True)


def _measured(path: Path, work: Path, *, is_data: bool) -> dict[str, Any]:
    before = _start()
    answer: dict[str, Any] = {"error": None, "exit": 0, "reason": None, "message": None}
    try:
        if is_data:
            dataset.load(path, work / f"data-{path.parent.name}", [INPUT], [OUTPUT], labels=True)
        else:
            load(path, work)
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


if __name__ == "__main__":
    main()
