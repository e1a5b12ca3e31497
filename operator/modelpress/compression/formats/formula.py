"""The quantization formula x_q = round(x * scale + bias), checked on every stored integer.

scale = 1/s and bias = zero point, where s is the file's scale: per output channel for weights. Rounding of
ties may go either way, hence the bound of 0.5 plus what float32 arithmetic loses.
"""

from dataclasses import dataclass

import numpy as np

from modelpress.compression.formats.litert.tflite_file import Constant
from modelpress.models.types import Array

TOLERANCE = 0.5001
_BLOCK = 2**20  # elements that are compared at once


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


@dataclass(frozen=True)
class Integers:
    """A quantized tensor: x_q = round(x * scale + bias), one scale and zero point for each channel of `axis`.

    `values` are the integers in the tensor's shape, `scale` and `zero_point` have one dimension; those of one
    element hold for the whole tensor. `limits` are the smallest and largest integer that can be stored.
    """

    values: Array
    scale: Array
    zero_point: Array
    axis: int
    limits: tuple[int, int]


def check(quantized: Constant, original: Array) -> Formula:
    """Compare a quantized constant with the float tensor that it was made from, both of one shape."""
    steps = quantized.scale.astype(np.float64)
    scale = np.divide(1.0, steps, out=np.zeros_like(steps), where=steps > 0)
    found = Integers(quantized.values, scale, quantized.zero_point, quantized.axis, quantized.limits)
    return compare(found, original)


def compare(quantized: Integers, original: Array) -> Formula:
    """Compare integers with the float tensor that they were made from, both of one shape, block by block."""
    shape = [1] * original.ndim
    axis = quantized.axis if quantized.scale.size > 1 else None
    if axis is not None:
        shape[axis] = quantized.scale.size
    scale = np.broadcast_to(quantized.scale.astype(np.float64).reshape(shape), original.shape)
    zero = quantized.zero_point.astype(np.float64)
    zero = np.broadcast_to(zero.reshape(shape if zero.size > 1 else [1] * original.ndim), original.shape)
    largest, off = 0.0, 0
    rows = max(1, _BLOCK * len(original) // original.size) if original.size and original.ndim else 1
    for start in range(0, len(original) if original.ndim else 1, rows):
        part = slice(start, start + rows) if original.ndim else ()
        exact = original[part].astype(np.float64) * scale[part] + zero[part]
        # weights beyond the range of the integers are stored as its ends
        errors = np.abs(np.clip(exact, *quantized.limits) - quantized.values[part])
        largest = max(largest, float(errors.max(initial=0.0)))
        off += int((errors > TOLERANCE).sum())
    return Formula(
        axis=axis,
        scale=tuple(float(value) for value in quantized.scale),
        bias=tuple(int(value) for value in quantized.zero_point),
        largest_error=largest,
        elements_off=off,
    )
