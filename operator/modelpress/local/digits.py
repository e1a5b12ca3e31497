"""The demo's model: a small CNN for scikit-learn's digits, trained here on real images.

Files, all in one folder: digits.keras, digits-{train,eval,holdout}.npz, digits.json with what was measured.
TensorFlow is imported only where something is trained.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelpress import logs

EPOCHS = 20
SEED = 7
MODEL, FACTS = "digits.keras", "digits.json"
SPLITS = {"train": 1077, "eval": 360, "holdout": 360}  # images; the gate sees eval, nobody holdout
CALLS = 100  # for each latency

Advance = Callable[[int, int, dict[str, float]], None]  # done, total, facts


@dataclass(frozen=True)
class Original:
    """What was measured of the trained model, in Keras."""

    accuracy: float  # on holdout, 0 to 1
    milliseconds: dict[str, float]  # median of one call, by batch size


def files(folder: Path) -> list[Path]:
    """Return all files that training makes."""
    return [folder / MODEL, *(folder / f"digits-{split}.npz" for split in SPLITS), folder / FACTS]


def load_original(folder: Path) -> Original:
    """Return what an earlier training measured."""
    return Original(**json.loads((folder / FACTS).read_text(encoding="utf-8")))


def load_split(folder: Path, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images (N, 8, 8, 1), float32 from 0 to 1, and their digits (N,)."""
    with np.load(folder / f"digits-{split}.npz") as data:
        return data["x"], data["y"]


def train(folder: Path, advance: Advance) -> Original:
    """Train, write all files and return what was measured."""
    logs.quiet_tensorflow()
    import keras  # noqa: PLC0415

    keras.utils.set_random_seed(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    _write_splits(folder)
    images, digits = load_split(folder, "train")
    model = _model(keras)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def report(epoch: int, logs: dict[str, float]) -> None:
        advance(epoch + 1, EPOCHS, {"loss": logs["loss"], "accuracy": logs["accuracy"]})

    callback = keras.callbacks.LambdaCallback(on_epoch_end=report)
    model.fit(images, digits, batch_size=32, epochs=EPOCHS, verbose=0, callbacks=[callback])
    original = _measure(model, *load_split(folder, "holdout"))
    model.save(folder / MODEL)
    (folder / FACTS).write_text(json.dumps(asdict(original), indent=1), encoding="utf-8")
    return original


def _write_splits(folder: Path) -> None:
    from sklearn.datasets import load_digits  # noqa: PLC0415

    pixels, digits = load_digits(return_X_y=True)
    images = (pixels / 16).astype("float32").reshape(-1, 8, 8, 1)
    order = np.random.default_rng(SEED).permutation(len(images))
    bounds = np.cumsum([*SPLITS.values()])[:-1]
    for split, chosen in zip(SPLITS, np.split(order, bounds), strict=True):
        np.savez(folder / f"digits-{split}.npz", x=images[chosen], y=digits[chosen].astype("int64"))


def _model(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )


def _measure(model: Any, images: NDArray[np.float32], digits: NDArray[np.int64]) -> Original:
    decisions = model.predict(images, verbose=0).argmax(axis=1)
    milliseconds = {}
    for batch in (1, 32):
        rows, times = images[:batch], []
        for _ in range(CALLS):
            begun = time.perf_counter()
            model.predict_on_batch(rows)
            times.append(time.perf_counter() - begun)
        milliseconds[str(batch)] = float(np.median(times)) * 1e3
    return Original(float((decisions == digits).mean()), milliseconds)
