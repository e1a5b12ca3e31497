"""The quantization formula x_q = round(x * scale + bias), checked on every stored integer.

scale = 1/s and bias = zero point, where s is the file's scale: per output channel for weights. Rounding of
ties may go either way, hence the bound of 0.5 plus what float32 arithmetic loses. Must not import TensorFlow.
"""

from dataclasses import dataclass

import numpy as np

from modelpress.compression.tflite_file import Constant
from modelpress.models.types import Array

TOLERANCE = 0.5001


@dataclass(frozen=True)
class Formula:
    """Scale and bias of a quantized tensor, one number for each channel of `axis` (or one for the tensor).

    `largest_error` is the largest |x * scale + bias - q| of its elements; `elements_off` counts those above
    `TOLERANCE`.
    """

    axis: int | None
    scale: tuple[float, ...]
    bias: tuple[int, ...]
    largest_error: float
    elements_off: int


def check(quantized: Constant, original: Array) -> Formula:
    """Compare a quantized tensor with the float tensor that it was made from, both of one shape."""
    shape = [1] * original.ndim
    axis = quantized.axis if quantized.scale.size > 1 else None
    if axis is not None:
        shape[axis] = quantized.scale.size
    steps = quantized.scale.astype(np.float64)
    scale = np.divide(1.0, steps, out=np.zeros_like(steps), where=steps > 0)
    exact = original.astype(np.float64) * scale.reshape(shape) + quantized.zero_point.astype(
        np.float64
    ).reshape(shape)
    # weights beyond the range of the integers are stored as its ends
    errors = np.abs(np.clip(exact, *quantized.limits) - quantized.values.astype(np.float64))
    return Formula(
        axis=axis,
        scale=tuple(float(value) for value in scale),
        bias=tuple(int(value) for value in quantized.zero_point),
        largest_error=float(errors.max(initial=0.0)),
        elements_off=int((errors > TOLERANCE).sum()),
    )
