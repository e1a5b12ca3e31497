"""Writes the models of the side-by-side run in float32: NAME.keras for the peers, NAME.tflite for the worker.

A program of its own, so that the benchmark never imports TensorFlow. Usage: python -m
tests.benchmarks.peer_models FOLDER.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import tensorflow as tf


def mlp(*sizes: int) -> Any:
    inputs = hidden = keras.Input((sizes[0],), name="x")
    for size in sizes[1:-1]:
        hidden = keras.layers.Dense(size, activation="relu")(hidden)
    return keras.Model(inputs, keras.layers.Dense(sizes[-1], activation="softmax")(hidden))


def image() -> Any:
    """Little to compute, so that the way of 602,112 bytes from the socket to the model is what is seen."""
    inputs = keras.Input((224, 224, 3), name="x")
    hidden = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(hidden))


def main(folder: Path) -> None:
    keras.utils.set_random_seed(7)
    models = {
        "mlp": mlp(64, 64, 32, 10),
        "wide": mlp(784, 128, 10),
        "image": image(),
    }
    # for the first whose call with 32 rows takes about a millisecond on this machine
    models |= {f"heavy-{width}": mlp(784, width, width, 10) for width in (1024, 1536, 2048, 3072)}
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
        (folder / f"{name}.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
