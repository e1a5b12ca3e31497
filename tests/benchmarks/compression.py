"""Every quantization scheme of the CPU on models of different kinds, against the float32 form in LiteRT.

Bytes and times are ratios inside one run: above 1 is smaller and faster. Run with
`python -m tests.benchmarks.compression` from the repository's root; it takes about three minutes.
"""

import os
import platform
import tempfile
from pathlib import Path

import numpy as np

from modelpress.compression.passes import quantize
from tests.support import small_models
from tests.support.compressed import Made, compress
from tests.support.models import build
from tests.support.small_models import TrainedModel


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("\nscheme, against float32 in LiteRT: bytes, speed at batch 1 and 32, score, its drop")
        print(f"{'model':11}{'scheme':13}{'bytes':>8}{'batch 1':>9}{'batch 32':>10}{'score':>8}{'drop':>7}")
        for kind, model in trained(folder).items():
            for scheme in quantize.SCHEMES:
                made = compress(model, scheme, folder / "forms" / kind / scheme.value)
                print(f"{kind:11}{scheme.value:13}{row(made)}", flush=True)


def trained(folder: Path) -> dict[str, TrainedModel]:
    """Train the models on real images; takes about a minute."""
    digits = build(folder)
    flat, images = folder / "train.npz", folder / "train-images.npz"
    np.savez(flat, x=digits.digits.train_x)
    np.savez(images, x=digits.digits.train_x.reshape(-1, 8, 8, 1))
    return {
        "MLP": TrainedModel(digits.functional, digits.flat_data, flat),
        "CNN": TrainedModel(digits.cnn, digits.image_data, images),
        "depthwise": small_models.depthwise(folder),
        "text": small_models.text(folder),
    }


def row(made: Made) -> str:
    """Return one line of the table."""
    sizes, scores = made.report.sizes, made.manifest.scores
    assert scores is not None
    speeds = [item.speedup for item in made.report.latency]
    return (
        f"{sizes.float32_bytes / sizes.compressed_bytes:7.2f}x{speeds[0]:8.2f}x{speeds[1]:9.2f}x"
        f"{scores.compressed:7.2f}%{scores.original - scores.compressed:7.2f}"
    )


if __name__ == "__main__":
    main()
