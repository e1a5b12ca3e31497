"""The client of `conversion_server`: starts it early, restarts it after a crash.

Must not import TensorFlow.
"""

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from modelpress.compression.conversion_server import FLOAT32
from modelpress.models.types import FrozenGraph, unsupported

__all__ = ["FLOAT32", "Converter", "StoredGraph"]
_log = logging.getLogger(__name__)


class StoredGraph:
    """A frozen graph in a file, for several conversions."""

    def __init__(self, graph: FrozenGraph, path: Path) -> None:
        path.write_bytes(graph.data)
        self.path = path
        self.inputs = graph.inputs
        self.outputs = graph.outputs


class Converter:
    """Converts frozen graphs to .tflite in another process, which lives as long as this context."""

    def __init__(self, folder: Path) -> None:
        self._log_file = folder / "converter.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._start()  # while this process loads the model, that one loads TensorFlow
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def convert(self, graph: StoredGraph, scheme: str, target: Path) -> None:
        """Write `graph` as a .tflite file.

        Raises UnsupportedModel, naming the operations without a built-in operator, and MemoryError where the
        process was killed.
        """
        request = {
            "graph": str(graph.path),
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "scheme": scheme,
            "target": str(target),
        }
        answer = self._ask(request)
        if answer["error"] is None:
            return
        _log.info("The converter said: %s", answer["error"])
        if names := answer["operations"]:
            raise unsupported(f"LiteRT has no built-in operator for {', '.join(names)}{_hint(names)}")
        raise unsupported(f"the model cannot be converted with scheme {scheme}: {answer['error']}")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.wait()
        self._process = None
        _log.error(
            "The converter ended with %d: %s", code, self._log_file.read_text(errors="replace")[-2000:]
        )
        if code == -signal.SIGKILL:
            raise MemoryError("the converter was killed")
        raise unsupported(
            f"the model cannot be converted with scheme {request['scheme']}: the converter crashed"
        )

    def _start(self) -> subprocess.Popen[str]:
        with self._log_file.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "modelpress.compression.conversion_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self._process


def _hint(names: list[str]) -> str:
    if any(name.startswith("TensorList") for name in names):
        return ": export recurrent layers with unroll=True or with a fixed batch size"
    return ""
