"""A pipeline on TensorFlow: the layers of a model cut into stages, each with devices of its own."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modelpress.artifacts import weights
from modelpress.models.graph_model import Signature as ModelSignature
from modelpress.models.keras.layer_graph import LayerGraph
from modelpress.models.stored_model import StoredLayers
from modelpress.serving.executors.partition import Costs, choose_cuts
from modelpress.serving.executors.tensorflow.program import Program
from modelpress.serving.signature import Signature

_MEASURED_ROWS = 8  # a micro-batch
_REPEATS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Tensors:
    """What a trace of the whole model showed of the tensors between its layers."""

    specs: dict[int, tf.TensorSpec]
    masked: frozenset[int]  # those that carry a mask of Keras


class StagedLayers:
    """The layers of a stored model and the places where they may be cut.

    Cuts are where no tensor with a mask is alive: a mask goes along with its tensor inside a program only.
    """

    def __init__(self, structure: Path, tensors: Path, signature: ModelSignature) -> None:
        self.layers = StoredLayers(structure, signature)
        self.graph = LayerGraph(self.layers.network)
        self._file = tensors
        self._signature = signature

    def bounds(self, stages: int, signature: Signature, device: str) -> list[tuple[int, int]]:
        """Return the first and the last step + 1 of each stage, by the cost of the parts on `device`.

        Raises DataError (UnsupportedModel) for more stages than parts.
        """
        if stages == 1:
            return [(0, len(self.graph.steps))]
        inner = range(1, len(self.graph.steps))
        possible = [cut for cut in inner if self._known.masked.isdisjoint(self.graph.alive(cut))]
        parts = list(pairwise([0, *possible, len(self.graph.steps)]))
        choose_cuts(_even(len(parts)), stages, "parts that can be cut")  # before anything is measured
        costs = self._measure(parts, signature, device)
        cuts = [parts[part][0] for part in choose_cuts(costs, stages)]
        names = ", ".join(self.graph.steps[cut].name for cut in cuts)
        logger.info(
            "Cut the model before %s.", names, extra={"microseconds": costs.microseconds.round(1).tolist()}
        )
        return list(pairwise([0, *cuts, len(self.graph.steps)]))

    def program(self, start: int, stop: int, device: str, *, compiled: bool = True) -> Program:
        """Return the steps start..stop-1 as a program, its variables in the memory of `device`."""
        variables = self.graph.variables(start, stop)
        with tf.device(device):
            holding = self.layers.hold(self.stored(variables), variables)

        def function(values: Sequence[Any]) -> Sequence[Any]:
            mapping = [(variable, holding.value(variable)) for variable in variables]
            return self.compute((start, stop), values, mapping)

        if start == 0:
            arguments = _arguments(self._signature)
        else:
            arguments = [self._known.specs[number] for number in self.graph.alive(start)]
        return Program(function, arguments, device, holding.variables, compiled=compiled)

    def stored(self, variables: Iterable[keras.Variable]) -> Iterable[weights.StoredTensor]:
        """Read what is stored for some variables."""
        return weights.read(self._file, only=self.layers.expected(variables))

    def compute(
        self,
        steps: tuple[int, int],
        values: Sequence[Any],
        mapping: Sequence[tuple[keras.Variable, Any]],
        finish: Callable[[Any], Any] | None = None,
    ) -> list[Any]:
        """Compute the steps start..stop-1, inside a function.

        `values` are the inputs, or what is alive before the steps; `mapping` has the value of each variable;
        `finish` is that of LayerGraph.run. Returns what is alive after the steps, outputs in their dtypes.
        """
        start, stop = steps
        with keras.StatelessScope(state_mapping=mapping):
            if start == 0:
                given = self.graph.entered(values)
            else:
                given = dict(zip(self.graph.alive(start), values, strict=True))
            found = self.graph.run(start, stop, given, finish)
        results = [found[number] for number in self.graph.alive(stop)]
        if stop < len(self.graph.steps):
            return results
        return [
            tf.cast(value, spec.dtype) for value, spec in zip(results, self._signature.outputs, strict=True)
        ]

    def _measure(self, parts: Sequence[tuple[int, int]], signature: Signature, device: str) -> Costs:
        """Time each part alone, best of five, as a graph: compiling each would take minutes."""
        microseconds, crossing = [], []
        values: Sequence[Any] = signature.example(_MEASURED_ROWS)
        overhead = _seconds(Program(list, _arguments(self._signature), device, (), compiled=False), values)
        for start, stop in parts:
            program = self.program(start, stop, device, compiled=False)
            crossing.append(sum(_bytes(value) for value in values))
            seconds = _seconds(program, values)
            microseconds.append(max(seconds - overhead, 0.0) * 1e6)
            values = program(values)
            del program  # its variables would stay while those of the next part come
        return Costs(np.array(microseconds), np.array(crossing, dtype=np.float64))

    @cached_property
    def _known(self) -> _Tensors:
        """What a trace of the whole model without its values shows of every tensor."""
        specs: dict[int, tf.TensorSpec] = {}
        masked: set[int] = set()
        variables = self.layers.network.variables

        def whole(*values: Any) -> Any:
            mapping = [(variable, tf.zeros(variable.shape, variable.dtype)) for variable in variables]
            with keras.StatelessScope(state_mapping=mapping):
                found = self.graph.entered(values)
                for index, step in enumerate(self.graph.steps):
                    found = self.graph.run(index, index + 1, found)
                    # now: attention takes the mask off what it reads
                    masked.update(number for number in step.writes if _has_mask(found[number]))
            specs.update((number, tf.TensorSpec(value.shape, value.dtype)) for number, value in found.items())
            return [found[number] for number in self.graph.outputs]

        tf.function(whole).get_concrete_function(*_arguments(self._signature))
        return _Tensors(specs, frozenset(masked))


def _arguments(signature: ModelSignature) -> list[tf.TensorSpec]:
    return [
        tf.TensorSpec([None if size < 0 else size for size in spec.shape], spec.dtype)
        for spec in signature.inputs
    ]


def _has_mask(tensor: Any) -> bool:
    return getattr(tensor, "_keras_mask", None) is not None


def _even(parts: int) -> Costs:
    return Costs(np.ones(parts), np.zeros(parts))


def _seconds(program: Program, values: Sequence[Any]) -> float:
    """Return the time of the fastest of five calls, after one that prepares."""
    program(values)
    best = np.inf
    for _ in range(_REPEATS):
        start = time.perf_counter()
        program(values)
        tf.test.experimental.sync_devices()  # a GPU works on after the call has returned
        best = min(best, time.perf_counter() - start)
    return float(best)


def _bytes(value: Any) -> int:
    return int(np.prod(value.shape, dtype=np.int64)) * int(tf.as_dtype(value.dtype).size)
