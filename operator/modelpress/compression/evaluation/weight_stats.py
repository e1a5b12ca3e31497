"""How the values of weights lie before and after compression: histograms of the same few bins."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.tflite_file import Constant
from modelpress.compression.report.document import PassReport, TensorHistogram
from modelpress.models.types import EDITABLE, Array, Weight

BINS = 48
MAX_TENSORS = 60  # the largest ones; the report stays small
_SAMPLE = 2**20  # elements of a tensor that are counted, evenly spaced


def before(weights: Sequence[Weight]) -> tuple[TensorHistogram, ...]:
    """Return the histograms of the largest kernels and embeddings, in the order of the model."""
    shown = [
        weight for weight in weights if weight.role in EDITABLE and np.prod(weight.shape, dtype=np.int64)
    ]
    largest = sorted(shown, key=lambda weight: -int(np.prod(weight.shape, dtype=np.int64)))[:MAX_TENSORS]
    names = {weight.name for weight in largest}
    found = (_first(weight) for weight in shown if weight.name in names)
    return tuple(item for item in found if item is not None)


def compared(
    histograms: Sequence[TensorHistogram], values: Iterator[tuple[str, Array]]
) -> tuple[TensorHistogram, ...]:
    """Return the histograms with those of the values after compression, by tensor name, in the same bins.

    Values beyond the range of the original are counted in the outermost bins.
    """
    after = {item.name: item for item in histograms}
    for name, array in values:
        if (item := after.get(name)) is not None:
            sample = _sample(array)
            after[name] = item.model_copy(update={"after": _counts(sample, item.low, item.high)})
    return tuple(after.values())


def own_values(weights: Sequence[Weight]) -> Iterator[tuple[str, Array]]:
    """Yield the kernels and embeddings as they are: a format that is not quantized computes with them."""
    for weight in weights:
        if weight.role in EDITABLE:
            yield weight.name, weight.read()


def stored_values(quantization: PassReport, path: Path) -> Iterator[tuple[str, Array]]:
    """Yield each weight as the .tflite file `path` computes with it: integers as (q - bias) / scale.

    Weights that the converter merged are left out.
    """
    constants: Mapping[str, Constant] = {item.name: item for item in tflite_file.read(path).constants}
    for tensor in quantization.tensors:
        if tensor.served_as is not None and (constant := constants.get(tensor.served_as)) is not None:
            values = dequantized(constant)
            if values is not None:
                yield tensor.name, values


def dequantized(constant: Constant) -> Array | None:
    """Return the numbers that a constant stands for; None where its scales are not one for each channel."""
    values = constant.values
    if constant.scale.size == 0:
        return values
    shape = [1] * values.ndim
    if constant.scale.size > 1:
        if constant.scale.size != values.shape[constant.axis]:
            return None
        shape[constant.axis] = -1
    zero = constant.zero_point if constant.zero_point.size == constant.scale.size else np.zeros(1)
    offset = zero.reshape(shape if zero.size > 1 else [1] * values.ndim)
    found = values.astype(np.float32)  # in place from here: the tensor can be most of the model
    found -= offset.astype(np.float32)
    found *= constant.scale.reshape(shape).astype(np.float32)
    return found


def _first(weight: Weight) -> TensorHistogram | None:
    sample = _sample(weight.read())
    if not np.isfinite(sample).all() or sample.size == 0:
        return None
    low, high = float(sample.min()), float(sample.max())
    if low == high:  # a single value: a bin needs a width
        low, high = low - 0.5, high + 0.5
    return TensorHistogram(name=weight.name, low=low, high=high, before=_counts(sample, low, high))


def _counts(sample: Array, low: float, high: float) -> tuple[int, ...]:
    counts, _ = np.histogram(np.clip(sample, low, high), bins=BINS, range=(low, high))
    return tuple(int(count) for count in counts)


def _sample(values: Array) -> Array:
    flat = values.reshape(-1)
    step = max(1, -(-flat.size // _SAMPLE))
    return np.asarray(flat[::step].astype(np.float64))
