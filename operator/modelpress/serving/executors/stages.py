"""Measures the operators of a .tflite model, and makes stages of it."""

import logging
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.serving.executors.base import Array, Arrays, InputError
from modelpress.serving.executors.cut import Graph, Piece
from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.executors.partition import Costs, choose_cuts
from modelpress.serving.signature import Signature

_REPEATS = 5
_MEASURED_ROWS = 8  # a full tile of XNNPACK

logger = logging.getLogger(__name__)


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


def cut(path: Path, signature: Signature, stages: int) -> list[Piece]:
    """Return the stages of a .tflite file, cut where its measured operators say.

    Raises DataError (UnsupportedModel) where it has fewer operators, or cannot be cut.
    """
    graph = Graph(path.read_bytes())
    costs = measure(graph, signature.example(_MEASURED_ROWS))
    cuts = choose_cuts(costs, stages)
    logger.info(
        "Cut the model before operators %s.",
        ", ".join(map(str, cuts)),
        extra={"microseconds": costs.microseconds.round(1).tolist()},
    )
    return pieces(graph, cuts)


def measure(graph: Graph, inputs: Arrays) -> Costs:
    """Run operator by operator on `inputs` and time each (best of 5), alone in its own interpreter.

    One operator is loaded at a time: the packed weights of the whole model are never held twice.
    Raises DataError (UnsupportedModel) where an operator shares state with another one, or cannot be computed
    apart from the others: LiteRT moves no empty tensor into an interpreter or out of one.
    """
    overhead, _ = _time(PieceExecutor(graph.piece(0, 0)), inputs)  # a call that computes nothing
    times = []
    crossing = []
    values: list[Array] = list(inputs)
    for index in range(len(graph)):
        if not graph.can_cut(index):
            raise _uncut(f"{graph.describe(index)} shares state with an earlier one")
        crossing.append(sum(value.nbytes for value in values))
        try:
            seconds, values = _time(PieceExecutor(graph.piece(index, index + 1)), values)
        except InputError as error:
            raise _uncut(
                f"{graph.describe(index)} cannot be computed apart from the others on rows of zeros ({error})"
            ) from error
        times.append(max(seconds - overhead, 0.0) * 1e6)
    return Costs(np.array(times), np.array(crossing, dtype=np.float64))


def _uncut(cause: str) -> DataError:
    return DataError(
        Reason.UNSUPPORTED_MODEL,
        f"{cause}: the model cannot be a pipeline, accepted is parallelism.pipeline 1",
    )


def _time(executor: PieceExecutor, inputs: Arrays) -> tuple[float, list[Array]]:
    """Return the seconds of the fastest of five runs, and the outputs; closes the executor."""
    best = np.inf
    for _ in range(_REPEATS):
        start = time.perf_counter()
        outputs = executor.run(inputs)
        best = min(best, time.perf_counter() - start)
    executor.close()
    return best, outputs


def pieces(graph: Graph, cuts: Sequence[int]) -> list[Piece]:
    """Return the stages of a model cut before the operators `cuts`."""
    bounds = [0, *cuts, len(graph)]
    return [graph.piece(start, stop) for start, stop in pairwise(bounds)]
