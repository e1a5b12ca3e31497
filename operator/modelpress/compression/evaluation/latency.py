"""Time of one call of the original and of the serving format.

Measured alternately, so that both meet the same noise.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from modelpress.compression.evaluation.evaluation import CallableModel
from modelpress.compression.report.document import Latency
from modelpress.models.types import Array, Arrays, TensorSpec

BATCHES = (1, 32)
_SECONDS = 1.0  # seconds of timing for each batch size
_CALLS = 200
_LEAST = 5


@dataclass(frozen=True)
class Timing:
    """What is called, and for how long: `sample` has rows that are repeated up to each batch size.

    `fastest`: take the fastest call instead of the median. Where other work shares the processor, a call
    longer than a time slice is interrupted in most of its runs and a shorter one in few: medians of models
    that differ by half then differ by five times, measured. The fastest call is what the model can do.
    """

    sample: Arrays
    batches: Sequence[int]
    seconds: float = _SECONDS  # seconds of timing for each batch size
    fastest: bool = False


def measure(original: CallableModel, compressed: CallableModel, timing: Timing) -> tuple[Latency, ...]:
    """Return the times for each batch size."""
    return tuple(_measure(original, compressed, timing, batch) for batch in timing.batches)


def batches_of(inputs: Sequence[TensorSpec]) -> tuple[int, ...]:
    """Return the batch sizes to measure: the only one of a model with a fixed batch, else 1 and 32."""
    fixed = max(spec.shape[0] for spec in inputs)
    return (fixed,) if fixed > 0 else BATCHES


def resized(sample: Arrays, rows: int) -> Mapping[str, Array]:
    """Return `rows` rows, repeated in turn."""
    return {
        name: np.ascontiguousarray(np.resize(array, (rows, *array.shape[1:])))
        for name, array in sample.items()
    }


def _measure(original: CallableModel, compressed: CallableModel, timing: Timing, batch: int) -> Latency:
    inputs = resized(timing.sample, batch)
    times: tuple[list[float], list[float]] = ([], [])
    for model in (original, compressed):
        for _ in range(2):  # the first call allocates
            model.call(inputs)
    end = time.perf_counter() + timing.seconds
    for call in range(_CALLS):
        if call >= _LEAST and time.perf_counter() > end:
            break
        for model, record in zip((original, compressed), times, strict=True):
            start = time.perf_counter()
            model.call(inputs)
            record.append(time.perf_counter() - start)
    before, after = ((min if timing.fastest else median)(record) * 1e6 for record in times)
    return Latency(
        batch=batch, original=round(before, 2), compressed=round(after, 2), speedup=round(before / after, 3)
    )
