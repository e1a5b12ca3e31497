"""Functions of TensorFlow in models that Keras 2 writes: one model for each, by the function's name.

Runs with the Keras of the environment that it is called in, like `cases`.
"""

from collections.abc import Callable
from typing import Any


def _of(call: Callable[[Any, Any, Any], Any]) -> Callable[[Any], Any]:
    """Return the case of a function of two float tensors of the shape (None, 4, 3)."""

    def case(keras: Any) -> Any:
        import tensorflow as tf

        x, y = keras.Input((4, 3), name="x"), keras.Input((4, 3), name="y")
        # what else the model computes reads both
        return keras.Model([x, y], [call(tf, x, y), keras.layers.Add()([x, y])])

    return case


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "x / 127.5 - 1": _of(lambda tf, x, y: x / 127.5 - 1),
    "1 - x": _of(lambda tf, x, y: 1 - x),
    "x - list": _of(lambda tf, x, y: x - [1.0, 2.0, 3.0]),
    "math.add": _of(lambda tf, x, y: tf.math.add(x, y)),
    "__operators__.add": _of(lambda tf, x, y: x + y),
    "math.subtract": _of(lambda tf, x, y: x - y),
    "math.multiply": _of(lambda tf, x, y: 2 * x * y),
    "math.divide": _of(lambda tf, x, y: tf.math.divide(x, y)),
    "math.truediv": _of(lambda tf, x, y: x / y),
    "math.divide_no_nan": _of(lambda tf, x, y: tf.math.divide_no_nan(x, tf.nn.relu(y))),
    "math.floordiv": _of(lambda tf, x, y: tf.math.floordiv(x, 0.3)),
    "compat.v1.floor_div": _of(lambda tf, x, y: x // 0.3),
    "math.floormod": _of(lambda tf, x, y: x % 0.3),
    "math.pow": _of(lambda tf, x, y: x**2),
    "math.maximum": _of(lambda tf, x, y: tf.maximum(x, y)),
    "math.minimum": _of(lambda tf, x, y: tf.minimum(x, 0.1)),
    "math.atan2": _of(lambda tf, x, y: tf.atan2(x, y)),
    "math.equal": _of(lambda tf, x, y: tf.equal(tf.sign(x), tf.sign(y))),
    "math.not_equal": _of(lambda tf, x, y: tf.not_equal(tf.sign(x), tf.sign(y))),
    "math.greater": _of(lambda tf, x, y: x > y),
    "math.greater_equal": _of(lambda tf, x, y: x >= 0.0),
    "math.less": _of(lambda tf, x, y: x < y),
    "math.less_equal": _of(lambda tf, x, y: x <= y),
    "math.logical_and": _of(lambda tf, x, y: tf.logical_and(x > 0, y > 0)),
    "math.logical_or": _of(lambda tf, x, y: tf.logical_or(x > 0, y > 0)),
    "math.logical_not": _of(lambda tf, x, y: tf.logical_not(x > 0)),
    "math.abs": _of(lambda tf, x, y: abs(x)),
    "math.negative": _of(lambda tf, x, y: -x),
    "math.exp": _of(lambda tf, x, y: tf.exp(x)),
    "math.expm1": _of(lambda tf, x, y: tf.math.expm1(x)),
    "math.log": _of(lambda tf, x, y: tf.math.log(x * x + 0.5)),
    "math.log1p": _of(lambda tf, x, y: tf.math.log1p(x * x)),
    "math.sqrt": _of(lambda tf, x, y: tf.sqrt(x * x + 0.5)),
    "math.rsqrt": _of(lambda tf, x, y: tf.math.rsqrt(x * x + 0.5)),
    "math.square": _of(lambda tf, x, y: tf.square(x)),
    "math.reciprocal": _of(lambda tf, x, y: tf.math.reciprocal(x * x + 0.5)),
    "math.sin": _of(lambda tf, x, y: tf.sin(x)),
    "math.cos": _of(lambda tf, x, y: tf.cos(x)),
    "math.tan": _of(lambda tf, x, y: tf.tan(x)),
    "math.asin": _of(lambda tf, x, y: tf.asin(tf.tanh(x))),
    "math.acos": _of(lambda tf, x, y: tf.acos(tf.tanh(x))),
    "math.atan": _of(lambda tf, x, y: tf.atan(x)),
    "math.sinh": _of(lambda tf, x, y: tf.sinh(x)),
    "math.cosh": _of(lambda tf, x, y: tf.cosh(x)),
    "math.tanh": _of(lambda tf, x, y: tf.tanh(x)),
    "math.sigmoid": _of(lambda tf, x, y: tf.sigmoid(x)),
    "math.erf": _of(lambda tf, x, y: tf.math.erf(x)),
    "math.floor": _of(lambda tf, x, y: tf.floor(x)),
    "math.ceil": _of(lambda tf, x, y: tf.math.ceil(x)),
    "math.round": _of(lambda tf, x, y: tf.round(x * 3)),
    "math.sign": _of(lambda tf, x, y: tf.sign(x)),
    "math.is_nan": _of(lambda tf, x, y: tf.math.is_nan(tf.math.log(x))),
    "math.is_inf": _of(lambda tf, x, y: tf.math.is_inf(1 / tf.nn.relu(x))),
    "math.is_finite": _of(lambda tf, x, y: tf.math.is_finite(1 / tf.nn.relu(x))),
    "math.reduce_mean": _of(lambda tf, x, y: tf.reduce_mean(x, axis=[1, 2], keepdims=True)),
    "math.reduce_sum": _of(lambda tf, x, y: tf.reduce_sum(x, axis=-1)),
    "math.reduce_max": _of(lambda tf, x, y: tf.reduce_max(x, axis=1)),
    "math.reduce_min": _of(lambda tf, x, y: tf.reduce_min(x, axis=1)),
    "math.reduce_prod": _of(lambda tf, x, y: tf.reduce_prod(x, axis=1)),
    "math.reduce_std": _of(lambda tf, x, y: tf.math.reduce_std(x, axis=1)),
    "math.reduce_variance": _of(lambda tf, x, y: tf.math.reduce_variance(x, axis=1)),
    "math.reduce_all": _of(lambda tf, x, y: tf.reduce_all(x > -1, axis=1)),
    "math.reduce_any": _of(lambda tf, x, y: tf.reduce_any(x > 1, axis=1)),
    "math.reduce_logsumexp": _of(lambda tf, x, y: tf.reduce_logsumexp(x, axis=1)),
    "math.argmax": _of(lambda tf, x, y: tf.argmax(x, axis=-1)),
    "math.argmin": _of(lambda tf, x, y: tf.argmin(x, axis=1)),
    "nn.relu": _of(lambda tf, x, y: tf.nn.relu(x)),
    "nn.relu6": _of(lambda tf, x, y: tf.nn.relu6(x * 9)),
    "nn.elu": _of(lambda tf, x, y: tf.nn.elu(x)),
    "nn.selu": _of(lambda tf, x, y: tf.nn.selu(x)),
    "math.softplus": _of(lambda tf, x, y: tf.nn.softplus(x)),
    "nn.softsign": _of(lambda tf, x, y: tf.nn.softsign(x)),
    "nn.silu": _of(lambda tf, x, y: tf.nn.silu(x)),
    "nn.gelu": _of(lambda tf, x, y: tf.nn.gelu(x)),
    "nn.leaky_relu": _of(lambda tf, x, y: tf.nn.leaky_relu(x)),
    "nn.softmax": _of(lambda tf, x, y: tf.nn.softmax(x, axis=1)),
    "nn.log_softmax": _of(lambda tf, x, y: tf.nn.log_softmax(x)),
    "math.l2_normalize": _of(lambda tf, x, y: tf.math.l2_normalize(x, axis=-1, epsilon=0.5)),
    "nn.bias_add": _of(lambda tf, x, y: tf.nn.bias_add(x, [1.0, 2.0, 3.0])),
    "clip_by_value": _of(lambda tf, x, y: tf.clip_by_value(x, -0.2, 0.3)),
    "cast": _of(lambda tf, x, y: tf.cast(x * 9, tf.int32)),
    "stop_gradient": _of(lambda tf, x, y: tf.stop_gradient(x)),
    "reshape": _of(lambda tf, x, y: tf.reshape(x, [-1, 2, 6])),
    "expand_dims": _of(lambda tf, x, y: tf.expand_dims(x, 1)),
    "compat.v1.squeeze": _of(lambda tf, x, y: tf.squeeze(tf.expand_dims(x, 1), axis=[1])),
    "compat.v1.transpose": _of(lambda tf, x, y: tf.transpose(x, [0, 2, 1])),
    "concat": _of(lambda tf, x, y: tf.concat([x, y], axis=-1)),
    "stack": _of(lambda tf, x, y: tf.stack([x, y], axis=1)),
    "unstack": _of(lambda tf, x, y: tf.unstack(x, axis=1)[2]),
    "split": _of(lambda tf, x, y: tf.split(x, [1, 3], axis=1)[1]),
    "split in equal parts": _of(lambda tf, x, y: tf.split(x, 2, axis=1)[1]),
    "tile": _of(lambda tf, x, y: tf.tile(x, [1, 2, 1])),
    "reverse": _of(lambda tf, x, y: tf.reverse(x, axis=[1])),
    "roll": _of(lambda tf, x, y: tf.roll(x, shift=1, axis=1)),
    "compat.v1.pad": _of(lambda tf, x, y: tf.pad(x, [[0, 0], [1, 2], [0, 0]], constant_values=3.0)),
    "pad by reflection": _of(lambda tf, x, y: tf.pad(x, [[0, 0], [1, 2], [0, 0]], mode="REFLECT")),
    "where": _of(lambda tf, x, y: tf.where(x > 0, x, y)),
    "zeros_like": _of(lambda tf, x, y: tf.zeros_like(x)),
    "ones_like": _of(lambda tf, x, y: tf.ones_like(x)),
    "linalg.matmul": _of(lambda tf, x, y: x @ tf.transpose(y, [0, 2, 1])),
    "__operators__.getitem": _of(lambda tf, x, y: x[:, ::-1, 1:]),
    "an index": _of(lambda tf, x, y: x[:, 0]),
    "an ellipsis": _of(lambda tf, x, y: x[..., tf.newaxis, ::-1]),
    "image.resize": _of(lambda tf, x, y: tf.image.resize(x[..., None], [7, 5])),
    "image.resize to nearest": _of(lambda tf, x, y: tf.image.resize(x[..., None], [7, 5], method="nearest")),
    "preprocessing of ResNet": _of(
        lambda tf, x, y: (
            tf.keras.applications.resnet50.preprocess_input(x)
            if tf.__version__ < "2.16"
            else tf.nn.bias_add(x[..., ::-1], [-103.939, -116.779, -123.68])
        )
    ),
}
