"""Every quantization scheme of the CPU on eight models of different kinds, trained on real images.

Bytes and times are ratios inside one run, above 1 is smaller and faster: against the float32 format in
LiteRT, and against the original as a tf.function. Run with `python -m
tests.benchmarks.compression [MODEL ...]` from the repository's root; it takes about ten minutes.
"""

import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from modelpress.api.schemes import DeviceType
from modelpress.compression import schemes
from modelpress.compression.evaluation import dataset, latency
from modelpress.compression.evaluation.latency import Timing
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.models.load import load
from tests.support.models import twelve as twelve_models
from tests.support.models.compressed import Made, compress
from tests.support.models.small import TrainedModel

KINDS = ("MLP", "wide MLP", "CNN", "MNIST CNN", "residual", "ViT", "text", "LSTM")
_SPEEDS = f"{'LiteRT 1':>10}{'32':>8}{'TF 1':>9}{'32':>8}"


def main(names: Sequence[str] = ()) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print("\nscheme, against float32: bytes; speed of a call of 1 and of 32 rows; score, its drop")
    print(f"{'model':11}{'scheme':13}{'bytes':>8}{_SPEEDS}{'score':>9}{'drop':>7}")
    with tempfile.TemporaryDirectory() as name:
        for kind in names or KINDS:
            folder = Path(name) / kind.replace(" ", "-")
            folder.mkdir()
            model = twelve_models.train(kind, folder)
            for scheme in schemes.of_device(DeviceType.CPU):
                made = compress(model, scheme, folder / scheme.value)
                print(f"{kind:11}{scheme.value:13}{row(made, model, folder / scheme.value)}", flush=True)


def row(made: Made, model: TrainedModel, folder: Path) -> str:
    """Return one line of the table; scratch files go to `folder`."""
    sizes, scores = made.report.sizes, made.manifest.scores
    assert scores is not None
    speeds = [item.speedup for item in made.report.latency] + against_function(made, model, folder)
    return (
        f"{sizes.float32_bytes / sizes.compressed_bytes:7.2f}x"
        + "".join(f"{speed:{width}.2f}x" for speed, width in zip(speeds, (9, 7, 8, 7), strict=True))
        + f"{scores.compressed:8.2f}%{scores.original - scores.compressed:7.2f}"
    )


def against_function(made: Made, model: TrainedModel, folder: Path) -> list[float]:
    """Return how much faster the format is than the original as a tf.function, for each batch size."""
    original = load(model.path, folder / "function")
    specs = original.inputs, original.outputs
    data = dataset.load(model.evaluation, folder / "rows", *specs, labels=False)
    timing = Timing(data.batch(0, latency.BATCHES[-1]), latency.BATCHES)
    return [item.speedup for item in latency.measure(original, LiteRTModel(made.path, *specs), timing)]


if __name__ == "__main__":
    main(sys.argv[1:])
