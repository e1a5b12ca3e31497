"""Peak memory of a compression Job on a model of 100 million parameters (400 MB in float32).

Each step's peak is that of all processes of the Job, less the same step's peak for a model of some kilobytes,
as a multiple of the large model's bytes. Run with `python -m tests.benchmarks.memory [KIND ...]` from the
repository's root; it needs 5 GB of memory and takes some minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpress.api import contract
from modelpress.api.contract import JobResult
from modelpress.artifacts.stores.base import open_store
from modelpress.compression.memory import PeakMeter
from modelpress.compression.report import document as report
from modelpress.compression.report.document import StepReport

LARGE, SMALL = 4096, 8  # units of the Dense layers; 102.8 million parameters and some hundreds
EMBEDDING = "embedding"
FORMS = {  # device type and scheme
    "Int8Dynamic": ("CPU", "Int8Dynamic"),
    "float32": ("CPU", None),
    "Int8Weights for GPUs": ("GPU", "Int8Weights"),
}
_HIDDEN = 6
_MB = 1e6


@dataclass(frozen=True)
class Measured:
    """The steps of a Job, the peak of the whole Job, and the bytes of its model in float32."""

    steps: tuple[StepReport, ...]
    peak: int
    original: int


def main(kinds: Sequence[str] = ()) -> None:
    with tempfile.TemporaryDirectory() as name:
        for kind in kinds or ("layers", "SavedModel", EMBEDDING):
            folder = Path(name) / kind
            folder.mkdir()
            small = build(kind, SMALL, folder / "small")
            large = build(kind, LARGE, folder / "large")
            for form in FORMS:
                baseline = run(small, form, folder / f"{form} small")
                show(f"{kind}, {form}", run(large, form, folder / form), baseline)


def build(kind: str, units: int, folder: Path) -> Path:
    """Write a model in a process of its own: TensorFlow does not give memory back."""
    folder.mkdir()
    target = folder / ("model" if kind == "SavedModel" else "model.keras")
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--write", kind, str(units), str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return target


def write(kind: str, units: int, target: Path) -> None:
    """Write Dense layers of `units` units, or one table with as many elements as all of them."""
    import keras

    keras.utils.set_random_seed(0)
    if kind == EMBEDDING:
        inputs = keras.Input((16,), dtype="int32")
        table = keras.layers.Embedding(_HIDDEN * units * units // 256 + 1, 256)
        hidden = keras.layers.GlobalAveragePooling1D()(table(inputs))
    else:
        inputs = keras.Input((units // 8,))
        hidden = inputs
        for _ in range(_HIDDEN + 1):
            hidden = keras.layers.Dense(units, activation="relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(10)(hidden))
    if kind == "SavedModel":
        model.export(target, verbose=False)
    else:
        model.save(target)


def run(model: Path, form: str, folder: Path) -> Measured:
    """Run the Job's program as a pod does."""
    folder.mkdir()
    device, scheme = FORMS[form]
    request = {
        "name": "large",
        "namespace": "default",
        "recipeHash": "1" * 64,
        "deviceType": device,
        "model": {"uri": model.as_uri()},
        "compression": {"quantization": {"scheme": scheme}} if scheme else None,
    }
    message, store = folder / "message", f"file://{folder}/store"
    environment = {
        **os.environ,
        contract.REQUEST: json.dumps(request),
        contract.STORE: store,
        contract.WORK_DIR: str(folder / "work"),
        contract.TERMINATION_MESSAGE: str(message),
    }
    with PeakMeter() as meter:
        meter.peak()
        job = [sys.executable, "-m", "modelpress.compression.job"]
        ended = subprocess.run(job, env=environment, capture_output=True, text=True, check=False)
        peak = meter.peak()
    if ended.returncode:
        raise SystemExit(
            f"the Job ended with {ended.returncode}: {message.read_text()}\n{ended.stderr[-3000:]}"
        )
    result = JobResult.model_validate_json(message.read_text())
    open_store(store).pull(result.artifact_digest, folder / "artifact")
    return Measured(report.load(folder / "artifact").steps, peak or 0, result.original_bytes)


def show(title: str, large: Measured, small: Measured) -> None:
    """Print a table of the steps."""
    print(f"\n{title}: {large.original / _MB:,.0f} MB in float32")
    print(f"{'step':22}{'seconds':>9}{'peak':>11}{'baseline':>11}{'beyond':>9}")
    for after, before in zip(large.steps, small.steps, strict=True):
        print(
            f"{after.name:22}{after.seconds:9.1f}{_row(after.peak_bytes, before.peak_bytes, large.original)}"
        )
    seconds = sum(step.seconds for step in large.steps)
    print(f"{'whole Job':22}{seconds:9.1f}{_row(large.peak, small.peak, large.original)}", flush=True)


def _row(peak: int | None, baseline: int | None, original: int) -> str:
    if peak is None or baseline is None:
        return "  not measured"
    beyond = (peak - baseline) / original
    return f"{peak / _MB:8,.0f} MB{baseline / _MB:8,.0f} MB{beyond:8.2f}x"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
