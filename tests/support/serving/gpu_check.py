"""Serves artifacts on logical devices and prints what was found. Usage: gpu_check.py FOLDER CASES_AS_JSON.

CASES is a list of {"artifact": NAME, "data": 1, "pipeline": 1, "tensor": 1}, optionally with "rows", the
sizes of the batches, and with "refused": true, for batches with an index out of range between others. Prints
one JSON object a line: largest error against the outputs on one device, or the refusal; [until ready, since
then] functions that were traced and programs that were compiled, by XLA or DTensor; what was said of refused
batches; and devices and bytes of the variables of each program. The last line has all warnings.
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["MODELPRESS_LOGICAL_DEVICES"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
os.environ["TF_CPP_VMODULE"] = "device_compiler=1"  # a line for each compilation of XLA; DTensor has its own
MOST = 65
DEVICES = 6
EXECUTORS = [f"modelpress.serving.executors.tensorflow.{name}" for name in ("mesh", "program")]


class Lines:
    """The lines that TensorFlow writes to standard error, which it does behind Python's back."""

    def __init__(self) -> None:
        self.compilations = 0
        self.warnings: list[str] = []
        reading, writing = os.pipe()
        self._passed_on = os.dup(2)
        os.dup2(writing, 2)
        os.close(writing)
        threading.Thread(target=self._read, args=(reading,), daemon=True).start()
        self._marks: dict[str, threading.Event] = {}

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, errors="replace") as lines:
            for line in lines:
                if line.startswith("mark "):
                    self._marks[line.strip()].set()
                elif (
                    "Compilation of XLA executable time" in line
                    or "computing its SPMD transformation" in line
                ):
                    self.compilations += 1
                elif line.startswith("{") and (entry := json.loads(line))["level"] == "WARNING":
                    self.warnings.append(entry["message"])
                else:
                    os.write(self._passed_on, line.encode())

    def settle(self) -> int:
        """Return the number of compilations until now."""
        mark = f"mark {len(self._marks)}"
        self._marks[mark] = threading.Event()
        os.write(2, f"{mark}\n".encode())
        assert self._marks[mark].wait(30)
        return self.compilations


def describe(program: Any) -> dict[str, Any]:
    """Return where the variables of a program are, and their bytes on each device."""
    from modelpress.serving.executors.tensorflow.mesh import MeshProgram

    if isinstance(program, MeshProgram):
        return {"by_size": True, **describe_mesh(program.variables)}
    return {
        "by_size": program.by_size,
        "bytes": sum(int(item.shape.num_elements()) * item.dtype.size for item in program.variables),
        "devices": sorted({item.device for item in program.variables}),
    }


def describe_mesh(variables: list[list[Any]]) -> dict[str, Any]:
    """Return where the variables of a mesh are, and their bytes on its first device."""
    from tensorflow.experimental import dtensor

    parts = [dtensor.unpack(part) for variable in variables for part in variable]
    return {
        "bytes": sum(part[0].numpy().nbytes for part in parts),
        "devices": sorted({copy.device for part in parts for copy in part}),
    }


class Traces:
    """How often TensorFlow traced a function of the executors."""

    def __init__(self) -> None:
        import tensorflow as tf

        self.count = 0
        make = tf.function

        def function(body: Any = None, **options: Any) -> Any:
            if getattr(body, "__module__", None) not in EXECUTORS:
                return make(body, **options)

            def traced(*values: Any) -> Any:
                self.count += 1
                return body(*values)

            return make(traced, **options)

        tf.function = function


def check(folder: Path, case: dict[str, Any], lines: Lines, traces: Traces) -> dict[str, Any]:
    import numpy as np

    from modelpress.api.spec import Parallelism, Serving
    from modelpress.serving.loading import load
    from modelpress.serving.placement.parallelism import DataParallel, Pipeline, Stage

    before = lines.settle(), traces.count
    spread = {name: case.get(name, 1) for name in ("data", "pipeline", "tensor")}
    loaded = load(folder / case["artifact"], Parallelism(**spread), Serving(max_batch_size=MOST))
    executors: list[Any] = [executor for copy in loaded.copies for executor in copy]
    programs = [executor.program for executor in executors]
    ready = lines.settle(), traces.count
    parallel = DataParallel(
        [Pipeline([Stage(executor, "stage") for executor in copy]) for copy in loaded.copies]
    )
    with np.load(folder / f"{case['artifact']}.npz") as arrays:
        inputs = [arrays[f"input_{place}"] for place in range(len(loaded.signature.inputs))]
        correct = [arrays[f"output_{place}"] for place in range(len(loaded.signature.outputs))]
    errors = []
    for rows in case.get("rows", range(1, MOST + 1)):
        found = parallel.run([array[-rows:] for array in inputs])
        for one, other in zip(found, correct, strict=True):
            assert one.dtype == other.dtype, (one.dtype, other.dtype)
            assert one.shape == other[-rows:].shape, (one.shape, rows)
            scale = max(1.0, float(np.abs(other).max()))
            errors.append(float(np.abs(one.astype("f8") - other[-rows:].astype("f8")).max()) / scale)
    refusals = refused(parallel, inputs, correct) if case.get("refused") else []
    after = lines.settle(), traces.count
    facts = [describe(program) for program in programs]
    parallel.close()
    return {
        "error": max(errors),
        "refusals": refusals,
        "traces": (ready[1] - before[1], after[1] - ready[1]),
        "compilations": (ready[0] - before[0], after[0] - ready[0]),
        "programs": facts,
    }


def refused(parallel: Any, inputs: list[Any], correct: list[Any]) -> list[str]:
    """Compute batches, every third of which has an index out of range, one by one and then all at once.

    Return what was said of those; the others must be answered right.
    """
    import numpy as np

    from modelpress.serving.executors.base import InputError

    bad = [array[:3].copy() for array in inputs]
    bad[0][1, 0] = 999

    def ask(number: int) -> str | None:
        try:
            found = parallel.run(bad if number % 3 == 1 else [array[:3] for array in inputs])
        except InputError as error:
            return str(error)
        for one, other in zip(found, correct, strict=True):
            np.testing.assert_allclose(one, other[:3], atol=1e-5)
        return None

    said = [ask(number) for number in range(9)]
    with ThreadPoolExecutor(12) as pool:
        said += pool.map(ask, range(48))
    assert [number for number, text in enumerate(said) if text] == [
        number for number in range(len(said)) if number % 3 == 1
    ]
    return [text for text in said if text]


def main() -> None:
    folder, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
    lines = Lines()
    import tensorflow as tf

    from modelpress import logs
    from modelpress.api.errors import ModelPressError

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    logs.configure()
    traces = Traces()
    for case in cases:
        try:
            found = check(folder, case, lines, traces)
        except ModelPressError as error:
            found = {"reason": error.reason.value, "message": error.message}
        print(json.dumps({"case": case, **found}, default=int), flush=True)
    lines.settle()
    print(json.dumps({"warnings": lines.warnings}))


if __name__ == "__main__":
    main()
