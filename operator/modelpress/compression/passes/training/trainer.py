"""Training of a model's own variables by Adam, for both kinds of models.

One step: gradients through the model's function, an Adam step, then either the fixed zeros are put back or
the weights are thresholded (`passes.l0`, `channels.l0`). Everything that is random is seeded: the order of
rows, and layers such as Dropout.

Adam: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.compression.evaluation.dataset import invalid
from modelpress.compression.passes.training import learning_rate, losses, training_data
from modelpress.compression.passes.training.training_data import TrainingData
from modelpress.logs import progress
from modelpress.models.graph_model import computing
from modelpress.models.types import Array, ComputationError, LoadedModel, first_line, unsupported

_log = logging.getLogger(__name__)
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-7  # Adam's beta 1, beta 2 and epsilon
_SEED = 0
_LINES = 100  # lines of progress at most
_EVALUATED = 256  # rows of a batch without gradients


@dataclass(frozen=True)
class StepSettings:
    """What a step is done with; all are numbers that change from step to step."""

    number: int  # counts from 1
    rate: float
    penalty: float


Tensors = Mapping[int, Any]  # a tensor for each trained weight, by its number in the model
# (values after Adam's step; their step sizes, the rate divided by Adam's scale; penalty) -> what is kept.
# Weights that no gradient reaches are not among them.
Proximal = Callable[[Tensors, Tensors, Any], Tensors]


@dataclass(frozen=True)
class TrainerOptions:
    """How the training goes. `zeros` says for each weight of the model whether it keeps its zeros."""

    epochs: int
    batch: int
    rate: float
    zeros: Sequence[bool]
    proximal: Proximal | None = None  # the operator of the penalty
    penalty: float = 0.0


class Trainer:
    """The state of a training: variables, Adam's moments, the number of the next step."""

    def __init__(
        self, model: LoadedModel, data: TrainingData, trained: Sequence[bool], options: TrainerOptions
    ) -> None:
        self._data = data
        self._options = options
        self._graph = model.training_graph()
        names = [spec.name for spec in model.outputs]
        self._outputs = [names.index(target.output) for target in data.targets]
        chosen = [i for i, is_trained in enumerate(trained) if is_trained]
        self._numbers = chosen
        self._names = [model.weights[i].name for i in chosen]
        self._variables = [self._graph.variables[i] for i in chosen]
        self._masks = [
            tf.cast(self._graph.variables[i] != 0, self._graph.variables[i].dtype)
            if options.zeros[i]
            else None
            for i in chosen
        ]
        self._moments = [[tf.Variable(tf.zeros_like(v)) for v in self._variables] for _ in range(2)]
        self._fixed = max(spec.shape[0] for spec in model.inputs) > 0
        self._random = np.random.default_rng(_SEED)
        self._done = 0
        self.unreached: set[str] = set()  # names of weights without a gradient; known after the first step
        self._factor = 1.0
        self.steps = options.epochs * max(1, data.data.rows // options.batch)
        signature = self._signature(model)
        self._train = tf.function(self._train_step, input_signature=signature, autograph=False)
        self._measure = tf.function(self._loss_of, input_signature=signature[:2], autograph=False)
        for number, state in enumerate(self._graph.random_states):
            state.assign(tf.constant([_SEED + number, 0], dtype=state.dtype))

    @property
    def rate(self) -> float:
        """The learning rate before its decay; halved by `slow_down`."""
        return self._options.rate * self._factor

    def loss(self) -> float:
        """Return the mean loss over all rows, in inference mode."""
        rows = self._data.data.rows
        batch = self._options.batch if self._fixed else min(_EVALUATED, rows)
        sums = 0.0
        counted = 0
        for start in range(0, rows - (batch - 1 if self._fixed else 0), batch):
            numbers = np.arange(start, min(start + batch, rows))
            with self._computing(numbers):
                sums += len(numbers) * float(self._measure(*self._data.batch(numbers)))
            counted += len(numbers)
        return self._checked(sums / counted)

    def epoch(self, step_name: str) -> None:
        """Train on all rows once, in an order of its own; rows that fill no whole batch wait for another.

        Raises UsageError (InvalidSpec) where the loss is no number, UnsupportedModel where an operation has
        no gradient.
        """
        each = max(1, self.steps // _LINES)
        for rows in self._batches():
            step = self._next_step()
            inputs, expected = self._data.batch(rows)
            numbers = [tf.constant(value, tf.float32) for value in (step.number, step.rate, step.penalty)]
            with self._computing(rows):
                loss = float(self._traced(inputs, expected, *numbers))
            self._checked(loss)
            self._done += 1
            if self._done % each == 0 or self._done == self.steps:
                progress(_log, step_name, self._done, self.steps, loss=round(loss, 6))

    def state(self) -> list[Array]:
        """Return copies of all variables and moments, for `restore`."""
        return [variable.numpy() for variable in self._stored()]

    def restore(self, state: Sequence[Array]) -> None:
        """Go back to a state; the steps since then stay counted."""
        for variable, value in zip(self._stored(), state, strict=True):
            variable.assign(value)

    def slow_down(self) -> None:
        """Halve the rate of all further steps."""
        self._factor /= 2

    def _stored(self) -> Iterator[Any]:
        yield from self._graph.variables
        yield from self._moments[0]
        yield from self._moments[1]

    def _batches(self) -> Iterator[Array]:
        order = self._random.permutation(self._data.data.rows)
        batch = self._options.batch
        for start in range(0, max(1, len(order) - batch + 1), batch):
            yield np.sort(order[start : start + batch])  # sorted: the rows are read from a file

    def _next_step(self) -> StepSettings:
        rate = self.rate * learning_rate.decay(self._done, self.steps)
        penalty = self._options.penalty * learning_rate.ramp(self._done, self.steps)
        return StepSettings(self._done + 1, rate, penalty)

    def _signature(self, model: LoadedModel) -> list[Any]:
        batch = None if not self._fixed else self._options.batch
        inputs = [
            tf.TensorSpec((batch, *self._data.data.inputs[spec.name].shape[1:]), spec.dtype)
            for spec in model.inputs
        ]
        expected = [
            tf.TensorSpec((batch, *target.values.shape[1:]), target.values.dtype)
            for target in self._data.targets
        ]
        return [inputs, expected, *[tf.TensorSpec((), tf.float32)] * 3]

    def _checked(self, loss: float) -> float:
        if not np.isfinite(loss):
            raise UsageError(
                Reason.INVALID_SPEC,
                f"spec.optimization.fineTuning: the loss became {loss} at step {self._done} of {self.steps}"
                f" with learning rate {self.rate:.3g}; choose a smaller learningRate",
            )
        return loss

    @contextmanager
    def _computing(self, rows: Array) -> Iterator[None]:
        """Tell rows that the model does not compute as InvalidData."""
        try:
            with computing():
                yield
        except ComputationError as error:
            first, last = (self._data.data.row_name(int(row)) for row in (rows.min(), rows.max()))
            raise invalid(
                f"{training_data.KEY}: {first} to {last}: the model does not compute one of them: {error}"
            ) from error

    def _traced(self, *arguments: Any) -> Any:
        try:
            return self._train(*arguments)
        except LookupError as error:
            raise unsupported(f"fineTuning: {first_line(error)}") from error

    def _loss_of(self, inputs: Any, expected: Any) -> Any:
        return self._total(self._graph.inference(inputs), expected)

    def _total(self, outputs: Any, expected: Any) -> Any:
        chosen = [outputs[i] for i in self._outputs]
        return losses.total(self._data.targets, expected, chosen)

    def _train_step(self, inputs: Any, expected: Any, number: Any, rate: Any, penalty: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            loss = self._total(self._graph.forward(inputs), expected)
        gradients = tape.gradient(loss, self._variables)
        if all(gradient is None for gradient in gradients):
            raise unsupported("fineTuning: no gradient of the loss reaches any weight")
        reached = [i for i, gradient in enumerate(gradients) if gradient is not None]
        self.unreached.update(name for i, name in enumerate(self._names) if i not in reached)
        steps = [self._adam(i, tf.convert_to_tensor(gradients[i]), number, rate) for i in reached]
        numbers = [self._numbers[i] for i in reached]
        values: Tensors = dict(zip(numbers, (value for value, _ in steps), strict=True))
        if self._options.proximal is not None:
            sizes = dict(zip(numbers, (size for _, size in steps), strict=True))
            values = self._options.proximal(values, sizes, penalty)
        for i in reached:
            value, mask = values[self._numbers[i]], self._masks[i]
            self._variables[i].assign(value if mask is None else value * mask)
        return loss

    def _adam(self, i: int, gradient: Any, number: Any, rate: Any) -> tuple[Any, Any]:
        """Return the value of one variable after Adam's step, and its step sizes."""
        mask = self._masks[i]
        if mask is not None:
            gradient *= mask
        first, second = self._moments[0][i], self._moments[1][i]
        first.assign(_FIRST * first + (1 - _FIRST) * gradient)
        second.assign(_SECOND * second + (1 - _SECOND) * tf.square(gradient))
        scale = tf.sqrt(second / (1 - _SECOND**number)) + _EPSILON
        size = rate / scale
        return self._variables[i] - size * first / (1 - _FIRST**number), size
