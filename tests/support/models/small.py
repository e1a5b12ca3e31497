"""More kinds of models than `models` trains: a residual network of depthwise convolutions, and one for text.

The text network reads the digits as 64 tokens: the place of a pixel and one of eight shades of it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.models import cache as model_cache
from tests.support.models.trained import load_digits

SHADES = 8
TOKENS = 64 * SHADES


@dataclass(frozen=True)
class TrainedModel:
    """A .keras file and its data sets."""

    path: Path
    evaluation: Path  # .npz: x, y of 540 rows
    calibration: Path  # .npz: x of 1,257 rows


def depthwise(folder: Path) -> TrainedModel:
    """Write the residual network, trained once, into a folder."""
    return _copied("depthwise", folder)


def text(folder: Path) -> TrainedModel:
    """Write the network with an embedding, trained once, into a folder."""
    return _copied("text", folder)


def tokens(images: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Return (rows, 64) tokens of (rows, 64) pixels from 0 to 1."""
    shades = np.minimum((images * SHADES).astype(np.int32), SHADES - 1)
    return np.arange(64, dtype=np.int32) * SHADES + shades


def _copied(name: str, folder: Path) -> TrainedModel:
    model_cache.copy("tests.support.models.small", folder, name)
    return _below(folder, name)


def _below(folder: Path, name: str) -> TrainedModel:
    return TrainedModel(
        folder / f"{name}.keras", folder / f"{name}-evaluation.npz", folder / f"{name}-calibration.npz"
    )


def main(folder: Path, name: str) -> None:
    """Train a network; takes up to 10 seconds."""
    import keras

    keras.utils.set_random_seed(0)
    build, inputs = _NETWORKS[name]
    model, digits, made = build(keras), load_digits(), _below(folder, name)
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(inputs(digits.train_x), digits.train_y, epochs=12, batch_size=64, verbose=0)
    model.save(made.path)
    np.savez_compressed(made.evaluation, x=inputs(digits.test_x), y=digits.test_y)
    np.savez_compressed(made.calibration, x=inputs(digits.train_x))


def _depthwise(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    hidden = layers.Conv2D(32, 3, padding="same", use_bias=False)(image)
    hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(hidden))
    for width in (32, 64):
        kept = hidden if hidden.shape[-1] == width else layers.Conv2D(width, 1, use_bias=False)(hidden)
        hidden = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(hidden)
        hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(hidden))
        hidden = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(width, 1, use_bias=False)(hidden))
        hidden = layers.ReLU()(layers.Add()([hidden, kept]))
    hidden = layers.GlobalAveragePooling2D()(hidden)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(hidden))


def _text(keras: Any) -> Any:
    layers = keras.layers
    words = keras.Input((64,), dtype="int32", name="tokens")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(TOKENS, 32)(words))
    hidden = layers.Dense(64, activation="relu")(hidden)
    return keras.Model(words, layers.Dense(10, activation="softmax", name="digit")(hidden))


def attention(folder: Path) -> TrainedModel:
    """Write a transformer block that reads the digits as 8 rows of 8 pixels, trained once, into a folder."""
    return _copied("attention", folder)


def wide(folder: Path) -> TrainedModel:
    """Write a network whose bytes are in its kernels, trained once, into a folder."""
    return _copied("wide", folder)


def _attention(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((8, 8), name="rows")
    hidden = layers.Dense(48)(image)
    for _ in range(2):
        mixed = layers.MultiHeadAttention(4, 12)(layers.LayerNormalization()(hidden), hidden)
        hidden = layers.Add()([hidden, mixed])
        wider = layers.Dense(96, activation="gelu")(layers.LayerNormalization()(hidden))
        hidden = layers.Add()([hidden, layers.Dense(48)(wider)])
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(layers.Flatten()(hidden)))


def _wide(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((64,), name="image")
    hidden = layers.Dense(512, activation="relu")(layers.Dense(512, activation="relu")(image))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(hidden))


_NETWORKS: dict[str, tuple[Callable[[Any], Any], Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]]] = {
    "depthwise": (_depthwise, lambda x: x.reshape(-1, 8, 8, 1)),
    "text": (_text, tokens),
    "attention": (_attention, lambda x: x.reshape(-1, 8, 8)),
    "wide": (_wide, lambda x: x),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
