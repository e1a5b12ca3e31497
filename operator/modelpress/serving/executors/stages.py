"""Chooses where a pipeline cuts a model, and makes its stages. Must not import TensorFlow."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.serving.executors.base import Array, Arrays
from modelpress.serving.executors.cut import Graph, Piece
from modelpress.serving.executors.litert import LiteRTExecutor

# A tensor that crosses is copied out of one interpreter and into the next; a core copies some 4 GB/s.
MICROSECONDS_PER_BYTE = 2 / 4000
_REPEATS = 5


@dataclass(frozen=True)
class Costs:
    """What was measured: time of each operator, bytes alive before each operator."""

    microseconds: npt.NDArray[np.float64]  # (operators,)
    crossing: npt.NDArray[np.float64]  # (operators,); [0] is what enters the model


class PieceExecutor:
    """One stage: computes its piece and hands on, unchanged, what only later stages need."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._executor = LiteRTExecutor(piece.model)

    def run(self, inputs: Arrays) -> list[Array]:
        """Take the tensors alive before the stage, return those alive after it."""
        values = dict(zip(self._piece.before, inputs, strict=True))
        outputs = self._executor.run([values[index] for index in self._piece.reads])
        values.update(zip(self._piece.computes, outputs, strict=True))
        return [values[index] for index in self._piece.after]

    def close(self) -> None:
        """Free the interpreter."""
        self._executor.close()


def measure(graph: Graph, inputs: Arrays) -> Costs:
    """Run operator by operator on `inputs` and time each (best of 5), alone in its own interpreter.

    One operator is loaded at a time: the packed weights of the whole model are never held twice.
    Raises DataError (UnsupportedModel) where an operator shares state with another one.
    """
    overhead, _ = _time(PieceExecutor(graph.piece(0, 0)), inputs)  # of a call that computes nothing
    times = []
    crossing = []
    values: list[Array] = list(inputs)
    for place in range(len(graph)):
        if not graph.can_cut(place):
            raise DataError(
                Reason.UNSUPPORTED_MODEL,
                f"operator {place} shares state with an earlier one: the model cannot be a pipeline",
            )
        crossing.append(sum(value.nbytes for value in values))
        seconds, values = _time(PieceExecutor(graph.piece(place, place + 1)), values)
        times.append(max(seconds - overhead, 0.0) * 1e6)
    return Costs(np.array(times), np.array(crossing, dtype=np.float64))


def _time(executor: PieceExecutor, inputs: Arrays) -> tuple[float, list[Array]]:
    """Return the seconds of the fastest of five runs, and the outputs; closes the executor."""
    best = np.inf
    for _ in range(_REPEATS):
        start = time.perf_counter()
        outputs = executor.run(inputs)
        best = min(best, time.perf_counter() - start)
    executor.close()
    return best, outputs


def choose_cuts(costs: Costs, stages: int) -> list[int]:
    """Return the operators before which to cut: the slowest stage is as fast as possible, then fewest bytes.

    A stage costs its operators and the copies of what enters it. Exact: the linear partition problem by
    dynamic programming (Skiena, The Algorithm Design Manual, "The Partition Problem").
    Raises DataError (UnsupportedModel) for more stages than operators.
    """
    count = len(costs.microseconds)
    if stages > count:
        raise DataError(
            Reason.UNSUPPORTED_MODEL,
            f"parallelism.pipeline is {stages}, but the model has {count} operators: at most {count} stages",
        )
    until = np.concatenate([[0.0], np.cumsum(costs.microseconds)])
    entry = costs.crossing * MICROSECONDS_PER_BYTE
    slowest = np.full((stages + 1, count + 1), np.inf)  # of the first k stages over the first n operators
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


def pieces(graph: Graph, cuts: Sequence[int]) -> list[Piece]:
    """Return the stages of a model cut before the operators `cuts`."""
    bounds = [0, *cuts, len(graph)]
    return [graph.piece(start, stop) for start, stop in pairwise(bounds)]
