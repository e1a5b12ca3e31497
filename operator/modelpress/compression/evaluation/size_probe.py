"""The process that calls a serving format with inputs of growing sizes, and says how much memory they take.

A process of its own, because a call that is too large may end it: its memory is limited, so that neither the
machine nor the compression runs out of it. It always computes on CPUs.

Usage: python -m modelpress.compression.evaluation.size_probe. The first line of standard input is
{"path": FILE, "inputs": [[NAME, SHAPE, DTYPE]], "outputs": ..., "sample": FILE, "most": BYTES}. The sample is
a .npz file with an array of one row for each input, under its number. It answers {} once the model is loaded,
and then each line [SHAPE], the shapes of a row of each input, with {"bytes": N}, N over the memory of the
first call, or {"refused": TEXT}, or {"memory": TEXT} where memory ran out.
"""

import contextlib
import json
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from modelpress.compression import json_process
from modelpress.compression.evaluation.evaluation import CallableModel
from modelpress.models.types import Array, TensorSpec

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def main() -> None:
    """Answer until standard input ends."""
    answers = json_process.begin()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin, answers)


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer each line of `requests` with a line of `answers`."""
    setup = json.loads(requests.readline())
    inputs, outputs = (
        tuple(TensorSpec(name, tuple(shape), dtype) for name, shape, dtype in setup[what])
        for what in ("inputs", "outputs")
    )
    model = _load(Path(setup["path"]), inputs, outputs)
    with np.load(setup["sample"], allow_pickle=False) as file:
        rows = [file[str(index)] for index in range(len(inputs))]
    json_process.say(answers, {})
    most = _field("VmData") + setup["most"]
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    first: int | None = None
    for line in requests:
        answer: dict[str, Any]
        try:
            peak = _peak(model, inputs, _grown(rows, json.loads(line)))
            first = peak if first is None else first
            answer = {"bytes": max(0, peak - first)}
        except MemoryError:
            answer = {"memory": "no memory is left"}
        except Exception as error:  # each runtime has errors of its own
            kind = "memory" if type(error).__name__ == "ResourceExhaustedError" else "refused"
            answer = {kind: f"{error}".strip().rpartition("\n")[2][:300]}
        json_process.say(answers, answer)


def _load(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> CallableModel:
    """Return the model that a worker would load from a file."""
    if path.suffix == ".tflite":
        from modelpress.compression.formats.litert.model import LiteRTModel  # noqa: PLC0415

        return LiteRTModel(path, inputs, outputs)
    from modelpress.artifacts import weights  # noqa: PLC0415
    from modelpress.models import stored_model  # noqa: PLC0415 - TensorFlow
    from modelpress.models.graph_model import Signature  # noqa: PLC0415

    stored = weights.read(path.with_name(weights.WEIGHTS_FILE))
    return stored_model.load(path, stored, Signature(tuple(inputs), tuple(outputs)))


def _grown(rows: Sequence[Array], shapes: Sequence[Sequence[int]]) -> list[Array]:
    """Return one row of each input in another shape: values of the sample, repeated."""
    return [np.resize(row, (1, *shape)) for row, shape in zip(rows, shapes, strict=True)]


def _peak(model: CallableModel, inputs: Sequence[TensorSpec], arrays: list[Array]) -> int:
    """Return the largest resident memory of this process during a call, in bytes."""
    # forget the peaks before; where that is not allowed, they were smaller in all likelihood
    with contextlib.suppress(OSError):
        _RESET.write_text("5")
    model.call({spec.name: array for spec, array in zip(inputs, arrays, strict=True)})
    return _field("VmHWM")


def _field(name: str) -> int:
    """Return a number of /proc/self/status in bytes."""
    for line in _STATUS.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"{_STATUS} has no {name}")


if __name__ == "__main__":
    main()
