"""Chooses where a pipeline cuts a model, for all runtimes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError

# A tensor that crosses is copied out of one interpreter and into the next; a core copies some 4 GB/s.
MICROSECONDS_PER_BYTE = 2 / 4000


@dataclass(frozen=True)
class Costs:
    """What was measured: time of each operator, bytes alive before each operator."""

    microseconds: npt.NDArray[np.float64]  # (operators,)
    crossing: npt.NDArray[np.float64]  # (operators,); [0] is what enters the model


def choose_cuts(costs: Costs, stages: int, parts: str = "operators") -> list[int]:
    """Return the operators before which to cut: the slowest stage is as fast as possible, then fewest bytes.

    A stage costs its operators and the copies of what enters it. Exact: the linear partition problem by
    dynamic programming (Skiena, The Algorithm Design Manual, "The Partition Problem").
    Raises DataError (UnsupportedModel) for more stages than operators, which it calls `parts`.
    """
    count = len(costs.microseconds)
    if stages > count:
        raise DataError(
            Reason.UNSUPPORTED_MODEL,
            f"parallelism.pipeline is {stages}, but the model has {count} {parts}: at most {count} stages",
        )
    until = np.concatenate([[0.0], np.cumsum(costs.microseconds)])
    entry = costs.crossing * MICROSECONDS_PER_BYTE
    slowest = np.full((stages + 1, count + 1), np.inf)  # microseconds: first k stages over first n operators
    moved = np.full((stages + 1, count + 1), np.inf)  # bytes that cross inside them
    previous = np.zeros((stages + 1, count + 1), dtype=np.int64)
    slowest[0, 0] = moved[0, 0] = 0.0
    for stage in range(1, stages + 1):
        for end in range(stage, count + 1):
            starts = np.arange(stage - 1, end)
            time_ = np.maximum(slowest[stage - 1, starts], until[end] - until[starts] + entry[starts])
            bytes_ = moved[stage - 1, starts] + np.where(starts > 0, costs.crossing[starts], 0.0)
            best = int(np.lexsort((bytes_, time_))[0])
            slowest[stage, end], moved[stage, end] = time_[best], bytes_[best]
            previous[stage, end] = starts[best]
    cuts = []
    end = count
    for stage in range(stages, 1, -1):
        end = int(previous[stage, end])
        cuts.append(end)
    return cuts[::-1]
