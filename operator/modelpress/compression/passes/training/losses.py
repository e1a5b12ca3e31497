"""Losses of a model's outputs as TensorFlow operations."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from modelpress.compression.passes.training.training_data import Loss, Target

_EPSILON = 1e-7  # keeps logarithms finite, as in Keras
_TEMPERATURE = 3.0  # softens outputs in distillation; its square keeps gradients as large as labels'


def total(targets: Sequence[Target], expected: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Return the sum of the outputs' losses, a float32 scalar; all three are in the same order."""
    parts = [
        target.share * _loss(target, values, tf.cast(output, tf.float32))
        for target, values, output in zip(targets, expected, outputs, strict=True)
    ]
    return tf.add_n(parts)


def _loss(target: Target, expected: Any, output: Any) -> Any:
    if target.loss is Loss.SQUARES:
        return tf.reduce_mean(tf.square(output - expected))
    if target.loss is Loss.BINARY:
        counted = tf.cast(expected >= 0.0, tf.float32)
        losses = _binary(tf.maximum(expected, 0.0), output, from_logits=target.from_logits)
        return _mean(losses, counted)
    if target.loss is Loss.TEACHER:
        return tf.reduce_mean(_divergence(_softened(expected), _softened(output))) * _TEMPERATURE**2
    logits = output if target.from_logits else _log(output)
    counted = tf.cast(expected >= 0, tf.float32)
    return _mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(expected, 0), logits), counted)


def _mean(losses: Any, counted: Any) -> Any:
    """Return the mean over what counts, which labels of -1 do not; 0 where nothing does."""
    return tf.math.divide_no_nan(tf.reduce_sum(losses * counted), tf.reduce_sum(counted))


def _binary(expected: Any, output: Any, *, from_logits: bool) -> Any:
    if from_logits:
        return tf.nn.sigmoid_cross_entropy_with_logits(expected, output)
    return -(expected * _log(output) + (1.0 - expected) * _log(1.0 - output))


def _softened(probabilities: Any) -> Any:
    """Return the logarithms of probabilities at the temperature: ratios below the largest count for more."""
    return tf.nn.log_softmax(_log(probabilities) / _TEMPERATURE)


def _divergence(expected: Any, found: Any) -> Any:
    """Return the Kullback-Leibler divergence of logarithms: 0 where both agree."""
    return tf.reduce_sum(tf.exp(expected) * (expected - found), axis=-1)


def _log(probabilities: Any) -> Any:
    return tf.math.log(tf.clip_by_value(probabilities, 0.0, 1.0) + _EPSILON)
