"""Writes the .tflite models of these tests; a program of its own, so that the tests never import TensorFlow.

Usage: python convert_models.py FOLDER. Each model becomes FOLDER/NAME-SCHEME.tflite.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from modelpress.compression.formats.litert import edge_quantizer
from modelpress.compression.schemes import QuantizerSettings

SCHEMES = ("float32", "int8", "float16", "static")
DTYPES = (
    *("bool", "float16", "float32", "float64"),
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
)
EDGE_SCHEMES = {
    "weights": QuantizerSettings(bits=8, dense_bits=8, dynamic=False),
    "int4": QuantizerSettings(bits=8, dense_bits=4, dynamic=True),
}


def main(folder: Path) -> None:
    keras.utils.set_random_seed(7)
    save(folder, "seed", digits_network(), [tf.TensorSpec([None, 64], tf.float32, "images")])
    cnn = skip_network()
    save(folder, "skip", cnn, [tf.TensorSpec([None, 8, 8, 1], tf.float32, "images")])
    tokens = tf.TensorSpec([None, 6], tf.int32, "tokens")
    save(folder, "two", two_inputs(), [tf.TensorSpec([None, 64], tf.float32, "image"), tokens])
    pixels = tf.TensorSpec([None, 64], tf.uint8, "pixels")
    save(folder, "integers", integers, [pixels, tf.TensorSpec([None], tf.int32, "shift")])
    save(folder, "lengths", lengths, [tf.TensorSpec([None, None], tf.float32, "series")])
    save(folder, "dilated", dilated(), [tf.TensorSpec([None, 12, 4], tf.float32, "series")])
    pair = [tf.TensorSpec([None, 6, 8], tf.float32, name) for name in ("queries", "keys")]
    save(folder, "products", products(), pair)
    save_unequal(folder)
    for dtype in DTYPES:
        save_dtype(folder, dtype)
    save(folder, "slow", slow(), [tf.TensorSpec([None, 512], tf.float32, "features")])


def digits_network() -> Any:
    class Digits(keras.Model):  # type: ignore[misc]  # keras has no types
        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.Dense(64, activation="relu")
            self.second = keras.layers.Dense(32, activation="relu")
            self.third = keras.layers.Dense(10, activation="softmax")

        def call(self, images: Any) -> Any:
            return self.third(self.second(self.first(images)))

    digits: Any = load_digits()
    model = Digits()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit((digits.data / 16).astype("float32")[:1200], digits.target[:1200], epochs=10, verbose=0)
    return lambda images: [model(images)]


def skip_network() -> Callable[..., Any]:
    image = keras.Input((8, 8, 1))
    first = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    hidden = keras.layers.Conv2D(16, 3, padding="same")(first)
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization()(hidden))
    hidden = keras.layers.MaxPooling2D()(keras.layers.Add()([hidden, first]))
    hidden = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(
        keras.layers.DepthwiseConv2D(3, padding="same")(hidden)
    )
    hidden = keras.layers.Dense(64, activation="gelu")(keras.layers.GlobalAveragePooling2D()(hidden))
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(hidden))
    return lambda images: [model(images)]


def two_inputs() -> Callable[..., Any]:
    """Attention over embedded tokens beside an image; two outputs, one of them made early."""
    image, tokens = keras.Input((64,)), keras.Input((6,), dtype="int32")
    embedded = keras.layers.Embedding(100, 32)(tokens)
    attended = keras.layers.MultiHeadAttention(2, 16)(embedded, embedded)
    text = keras.layers.Flatten()(keras.layers.LayerNormalization()(embedded + attended))
    dense = keras.layers.Dense(64, activation="relu")(image)
    label = keras.layers.Dense(10, activation="softmax")(keras.layers.Concatenate()([dense, text]))
    model = keras.Model([image, tokens], [keras.layers.Dense(1)(dense), label])
    return lambda image, tokens: model([image, tokens])


def integers(pixels: Any, shift: Any) -> Any:
    weights = tf.constant(np.random.default_rng(0).normal(size=(64, 32)).astype("float32"))
    features = tf.nn.relu(tf.matmul(tf.cast(pixels, tf.float32) / 255.0, weights))
    return [features, tf.argmax(features, axis=-1, output_type=tf.int32) + shift]


def lengths(series: Any) -> Any:
    """A free axis beside the batch: mean of each row."""
    return [tf.reduce_mean(series, axis=1, keepdims=True)]


def dilated() -> Callable[..., Any]:
    """A convolution that LiteRT computes on a batch of as many parts as the dilation."""
    series = keras.Input((12, 4))
    hidden = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(series)
    hidden = keras.layers.Conv1D(8, 3, padding="same", dilation_rate=2, activation="relu")(hidden)
    model = keras.Model(series, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))
    return lambda series: [model(series)]


def products() -> Callable[..., Any]:
    """Attention of one input over another: products of two tensors with a batch each."""
    queries, keys = keras.Input((6, 8)), keras.Input((6, 8))
    scores = keras.ops.matmul(keras.layers.Dense(8)(queries), keras.ops.transpose(keys, (0, 2, 1)))
    mixed = keras.ops.matmul(keras.layers.Softmax()(scores), keys)
    model = keras.Model([queries, keys], keras.layers.Dense(3)(mixed))
    return lambda queries, keys: [model([queries, keys])]


def slow() -> Callable[..., Any]:
    """Some milliseconds a row."""
    generator = np.random.default_rng(1)
    weights = [tf.constant(generator.normal(0, 0.05, (512, 512)).astype("float32")) for _ in range(12)]

    def compute(features: Any) -> Any:
        for weight in weights:
            features = tf.nn.relu(tf.matmul(features, weight))
        return [features]

    return compute


def save(folder: Path, name: str, compute: Callable[..., Any], inputs: list[Any]) -> None:
    function = tf.function(compute).get_concrete_function(*inputs)
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    for scheme in SCHEMES:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if scheme != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if scheme == "static":
            converter.representative_dataset = lambda: calibration(inputs)
        (folder / f"{name}-{scheme}.tflite").write_bytes(converter.convert())
    for scheme, settings in EDGE_SCHEMES.items():
        edge_quantizer.quantize(
            folder / f"{name}-float32.tflite", folder / f"{name}-{scheme}.tflite", settings
        )


def mask(lengths: Any) -> Any:
    """A tensor on the way that is empty where all inputs are zero."""
    longest = tf.range(tf.reduce_max(lengths))
    return [tf.reduce_sum(tf.cast(longest[None] < lengths[:, None], tf.int32), axis=1)]


def spans(lengths: Any) -> Any:
    """Entries that are as wide as the largest row is."""
    return [tf.cast(tf.sequence_mask(lengths), tf.int32)]


def table(lengths: Any) -> Any:
    """An output of two entries, whatever the number of rows."""
    return [lengths * 2, tf.constant([1, 2]) + 0 * tf.reduce_sum(lengths)]


def save_unequal(folder: Path) -> None:
    """Write models of which rows are not alike, or not apart from each other."""
    for compute in (mask, spans, table):
        function = tf.function(compute, input_signature=[tf.TensorSpec([None], tf.int32, "lengths")])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
        (folder / f"{compute.__name__}-float32.tflite").write_bytes(converter.convert())


def save_dtype(folder: Path, dtype: str) -> None:
    """Write a model whose input and output are of `dtype`, as LiteRT can move values of any kind."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], dtype, "values")])  # type: ignore[untyped-decorator]
    def square(values: Any) -> Any:
        return [tf.reshape(values, [-1, 2, 2])]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([square.get_concrete_function()])
    (folder / f"{dtype}-float32.tflite").write_bytes(converter.convert())


def calibration(inputs: list[Any]) -> Iterator[list[Any]]:
    """Yield random inputs, half of the floats zero."""
    random = np.random.default_rng(5)
    for _ in range(20):
        arrays = []
        for spec in inputs:
            shape = (4, *(5 if size is None else size for size in spec.shape[1:]))
            if spec.dtype.is_floating:
                arrays.append((random.random(shape) * (random.random(shape) < 0.5)).astype("float32"))
            else:
                arrays.append(random.integers(0, 100, shape).astype(spec.dtype.as_numpy_dtype))
        yield arrays


if __name__ == "__main__":
    main(Path(sys.argv[1]))
