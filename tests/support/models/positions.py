"""A SavedModel for texts of any length up to the positions that it has, as transformers are exported."""

from pathlib import Path

POSITIONS = 300  # no power of two
TOKENS = 50


def save(folder: Path) -> Path:
    """Write the model: tokens (rows, length) of 0 to 49, their mean over the length after attention."""
    import numpy as np
    import tensorflow as tf

    random = np.random.default_rng(0)

    class Positions(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        def __init__(self) -> None:
            super().__init__()
            self.words = tf.Variable(random.normal(size=(TOKENS, 32)).astype("float32"), name="words")
            self.places = tf.Variable(random.normal(size=(POSITIONS, 32)).astype("float32"), name="places")
            self.head = tf.Variable(random.normal(size=(32, 3)).astype("float32"), name="head")

        def serve(self, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
            seen = tf.gather(self.words, tokens) + tf.gather(self.places, tf.range(tf.shape(tokens)[1]))
            scores = tf.nn.softmax(tf.matmul(seen, seen, transpose_b=True) / 32.0)
            return {"label": tf.matmul(tf.reduce_mean(tf.matmul(scores, seen), axis=1), self.head)}

    model = Positions()
    tokens = tf.TensorSpec([None, None], tf.int32, "tokens")
    serve = tf.function(model.serve, input_signature=[tokens])
    tf.saved_model.save(model, str(folder), signatures={"serving_default": serve})
    return folder
