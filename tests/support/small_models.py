"""More kinds of models than `models` trains: a residual network of depthwise convolutions, and one for text.

The text network reads the digits as 64 tokens: the place of a pixel and one of eight shades of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.models import load_digits

SHADES = 8
TOKENS = 64 * SHADES


@dataclass(frozen=True)
class TrainedModel:
    """A .keras file and its data sets."""

    path: Path
    evaluation: Path  # .npz: x, y of 540 rows
    calibration: Path  # .npz: x of 1,257 rows


def depthwise(folder: Path) -> TrainedModel:
    """Train the residual network; takes about 10 seconds."""
    import keras

    keras.utils.set_random_seed(0)
    return _trained(folder, "depthwise", _depthwise(keras), lambda x: x.reshape(-1, 8, 8, 1))


def text(folder: Path) -> TrainedModel:
    """Train the network with an embedding; takes some seconds."""
    import keras

    keras.utils.set_random_seed(0)
    return _trained(folder, "text", _text(keras), tokens)


def tokens(images: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Return (rows, 64) tokens of (rows, 64) pixels from 0 to 1."""
    shades = np.minimum((images * SHADES).astype(np.int32), SHADES - 1)
    return np.arange(64, dtype=np.int32) * SHADES + shades


def _trained(folder: Path, name: str, model: Any, inputs: Any) -> TrainedModel:
    import keras

    digits = load_digits()
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(inputs(digits.train_x), digits.train_y, epochs=12, batch_size=64, verbose=0)
    made = TrainedModel(
        folder / f"{name}.keras", folder / f"{name}-evaluation.npz", folder / f"{name}-calibration.npz"
    )
    model.save(made.path)
    np.savez_compressed(made.evaluation, x=inputs(digits.test_x), y=digits.test_y)
    np.savez_compressed(made.calibration, x=inputs(digits.train_x))
    return made


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
    """Train a transformer block that reads the digits as 8 rows of 8 pixels; takes some seconds."""
    import keras

    keras.utils.set_random_seed(0)
    return _trained(folder, "attention", _attention(keras), lambda x: x.reshape(-1, 8, 8))


def wide(folder: Path) -> TrainedModel:
    """Train a network whose bytes are in its kernels; takes some seconds."""
    import keras

    keras.utils.set_random_seed(0)
    return _trained(folder, "wide", _wide(keras), lambda x: x)


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
