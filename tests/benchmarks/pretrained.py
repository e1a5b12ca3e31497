"""Trained models that packages ship, compressed with every scheme of the CPU and compared with the original
on real input: photographs, faces, recorded instruments, Thai text.

Bytes are those of the weights in float32 / of the file; speed is against the float32 format in LiteRT; the
score is the metric's, with its 95 % interval. The last column is how often the format does what the original
is known for. Run with `python -m tests.benchmarks.pretrained [NAME ...]`; all take about ten minutes.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from modelpress import logs
from modelpress.api.schemes import DeviceType
from modelpress.artifacts.manifest import TensorSpec
from modelpress.compression import schemes
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.models import types
from modelpress.models.load import load
from modelpress.models.types import Array
from tests.benchmarks import pretrained_models
from tests.benchmarks.pretrained_models import Known, Predict, Pretrained
from tests.support.models.compressed import Made, compress

_BATCH = 16


class Caller(Protocol):
    """What computes one batch: the original or a format."""

    def call(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


def main() -> None:
    logs.quiet_tensorflow()
    chosen = [model for model in pretrained_models.MODELS if not sys.argv[1:] or model.name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as name:
        for model in chosen:
            folder = Path(name) / model.write.__name__
            folder.mkdir()
            show(model, folder)


def show(model: Pretrained, folder: Path) -> None:
    """Print one model with all schemes."""
    trained = model.write(folder)
    original = load(trained.path, folder / "original")
    count = sum(int(np.prod(weight.shape)) for weight in original.weights)
    package = model.package
    print(f"\n{model.name}: {package.name} {package.version}, {package.licence}, {count:,} parameters")
    known = model.known(in_batches(original, [spec.name for spec in original.inputs]))
    print(f"  the original: {known.what} {known.right} of {known.of}")
    print(f"  {'scheme':13}{'bytes':>7}{'batch 1':>9}{'batch 32':>10}  {model.metric}")
    for scheme in schemes.of_device(DeviceType.CPU):
        evaluation = {"metric": model.metric, "minScore": "50%"}
        made = compress(trained, scheme, folder / scheme.value, evaluation=evaluation)
        print(f"  {scheme.value:13}{line(made, model.known(served(made)))}", flush=True)


def line(made: Made, known: Known) -> str:
    scores = made.report.evaluation
    assert scores is not None
    low, high = scores.compressed_interval or (float("nan"), float("nan"))
    speeds = [item.speedup for item in made.report.latency]
    return (
        f"{made.report.sizes.ratio:6.2f}x{speeds[0]:8.2f}x{speeds[-1]:9.2f}x"
        f"  {scores.compressed:.2f}% ({low:.2f} to {high:.2f}); {known.what} {known.right} of {known.of}"
    )


def served(made: Made) -> Predict:
    """Return the calls of a serving format."""
    inputs, outputs = _specs(made.manifest.inputs), _specs(made.manifest.outputs)
    return in_batches(LiteRTModel(made.path, inputs, outputs), [spec.name for spec in inputs])


def in_batches(model: Caller, names: Sequence[str]) -> Predict:
    """Return calls of any number of rows."""

    def predict(arrays: Mapping[str, Array]) -> dict[str, Array]:
        assert list(arrays) == list(names)
        rows = len(next(iter(arrays.values())))
        parts = [
            model.call({name: array[start : start + _BATCH] for name, array in arrays.items()})
            for start in range(0, rows, _BATCH)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return predict


def _specs(specs: Sequence[TensorSpec]) -> list[types.TensorSpec]:
    return [types.TensorSpec(spec.name, spec.shape, spec.dtype) for spec in specs]


if __name__ == "__main__":
    main()
