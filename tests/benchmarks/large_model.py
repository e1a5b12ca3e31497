"""Writes a model of four dense layers and 100 MB of float32 weights. Usage: large_model.py FILE."""

import sys
from pathlib import Path

WIDTH, LAYERS = 2500, 4


def main(path: Path) -> None:
    import tensorflow as tf

    inputs = tf.keras.Input((WIDTH,), name="features")
    outputs = inputs
    for _ in range(LAYERS):
        outputs = tf.keras.layers.Dense(WIDTH, activation="relu")(outputs)
    model = tf.keras.Model(inputs, outputs)
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
