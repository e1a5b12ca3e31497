"""data.training, and what a model should compute for it: labels, or the original's outputs without any.

The loss of an output follows from its labels: whole numbers or one-hot rows are classes, other numbers are
values to meet. Without labels the original model is the teacher; with labels it can be a part of the loss
(distillation: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015). Must not
import TensorFlow.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression.evaluation import dataset, decisions, evaluation, metrics
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.models.types import Array, LoadedModel, unsupported

KEY = "data.training"
_PROBE = 1024  # rows whose outputs tell probabilities from logits


class Loss(StrEnum):
    """What is made small, for one output; the mean over rows and positions."""

    CLASSES = "sparse categorical cross-entropy"
    BINARY = "binary cross-entropy"
    TEACHER = "cross-entropy to the original's probabilities"
    SQUARES = "mean squared error"


@dataclass(frozen=True)
class Target:
    """What one output should be. An output with labels and a teacher has two targets."""

    output: str
    loss: Loss
    from_logits: bool  # for CLASSES and BINARY: the outputs are no probabilities
    # CLASSES: int64 (N, ...) without the last axis; otherwise float32 of the output's shape. Labels of -1 are
    # ignored in CLASSES and BINARY.
    values: Array
    distilled: bool  # the values are outputs of the original
    share: float = 1.0  # factor in the sum of all losses

    def describe(self) -> str:
        """Return the loss in words, for the report."""
        source = "the original's outputs" if self.distilled else "labels"
        share = f"{self.share:g} x " if self.share != 1 else ""
        return f"{share}{self.loss.value}{' on logits' if self.from_logits else ''}, against {source}"


@dataclass(frozen=True)
class TrainingData:
    """Rows to train on, and the targets of the outputs that are trained."""

    data: Dataset
    targets: tuple[Target, ...]

    def batch(self, rows: Array) -> tuple[list[Array], list[Array]]:
        """Return the inputs, in the model's order, and the targets' values of the rows with these numbers."""
        inputs = [
            np.asarray(self.data.inputs[spec.name][rows]).astype(spec.dtype) for spec in self.data.specs
        ]
        return inputs, [np.asarray(target.values[rows]) for target in self.targets]


def load(path: Path, folder: Path, model: LoadedModel, *, distillation: float = 0.0) -> TrainingData:
    """Read data.training for a model that is still the original; arrays are unpacked into `folder`.

    `distillation`, from 0 to 1, is the share of the original's outputs in the loss where there are labels.
    Raises InvalidData, naming data.training, and UnsupportedModel where no output can be trained.
    """
    trained = [spec for spec in model.outputs if np.dtype(spec.dtype).kind == "f"]
    if not trained:
        raise unsupported("fineTuning: no output of the model is of a float dtype, so no loss has a gradient")
    with dataset.named(KEY):
        labels = dataset.has_labels(path, model.inputs, model.outputs)
        data = dataset.load(path, folder, model.inputs, model.outputs, labels=labels)
    fixed = max(spec.shape[0] for spec in model.inputs)
    if data.rows < fixed:
        raise _invalid(f"has {data.rows} rows, the model takes batches of {fixed}")
    outputs = _outputs(model, data, folder, everything=not labels or distillation > 0)
    taught = distillation if labels else 1.0
    targets = [_taught(spec.name, outputs[spec.name], taught) for spec in trained] if taught else []
    if labels and distillation < 1:
        for spec in trained:
            target = _target(spec.name, data.labels[spec.name], outputs[spec.name], data.rows)
            targets.append(replace(target, share=1 - distillation))
    return TrainingData(data, tuple(targets))


def _outputs(model: LoadedModel, data: Dataset, folder: Path, *, everything: bool) -> dict[str, Array]:
    rows = data.rows if everything else min(data.rows, _PROBE)
    part = replace(data, inputs={name: array[:rows] for name, array in data.inputs.items()}, rows=rows)
    batch = evaluation.batch_size(model.inputs, part)
    with dataset.named(KEY):
        found = evaluation.predict(model, part, folder / "outputs", batch=batch, step="ask the original")
        evaluation.check_rows(model, data, batch, first=rows)
    for name, values in found.items():
        if broken := metrics.rows_without_numbers(values):
            raise _invalid(
                f"output {name} of the original model is NaN or infinite for {broken} of {rows} rows"
            )
    return found


def _target(name: str, labels: Array, outputs: Array, rows: int) -> Target:
    shape = (rows, *outputs.shape[1:])
    several = decisions.several(shape)
    one_hot = several and labels.shape == shape and decisions.is_one_hot(labels)
    each = not one_hot and decisions.are_flags(labels) and _has_shape(labels, shape)
    if one_hot and decisions.from_0_to_1(outputs) and not decisions.probabilities(outputs):
        each = True  # columns that decide for themselves, as sigmoids do
    if each:
        return _flags(name, labels, outputs, shape)
    if labels.dtype.kind == "f" and not one_hot:
        expected = _reshaped(name, labels, shape)
        return Target(name, Loss.SQUARES, False, expected.astype(np.float32), distilled=False)
    if several and labels.shape == shape and not one_hot:
        raise _invalid(
            f"labels of output {name} have its shape {shape} and are neither 0 and 1 nor of a float dtype"
        )
    try:
        classes = decisions.label_decisions(labels, shape)
    except ValueError as error:
        hint = "; values to meet need a float dtype"
        raise _invalid(f"labels of output {name}: {error}{hint}") from error
    return Target(name, Loss.CLASSES, not decisions.probabilities(outputs), classes, distilled=False)


def _flags(name: str, labels: Array, outputs: Array, shape: tuple[int, ...]) -> Target:
    """Return binary cross-entropy for each column, on logits where the outputs are not from 0 to 1."""
    try:
        found = decisions.label_flags(np.asarray(labels).reshape(shape), shape)
    except ValueError as error:
        raise _invalid(f"labels of output {name}: {error}") from error
    logits = not decisions.from_0_to_1(outputs)
    return Target(name, Loss.BINARY, logits, found.astype(np.float32), distilled=False)


def _taught(name: str, outputs: Array, share: float) -> Target:
    loss = Loss.SQUARES
    if decisions.probabilities(outputs):
        loss = Loss.TEACHER if decisions.several(outputs.shape) else Loss.BINARY
    values = outputs.astype(np.float32, copy=False)
    return Target(name, loss, False, values, distilled=True, share=share)


def _reshaped(name: str, labels: Array, shape: tuple[int, ...]) -> Array:
    """Accept a missing or an additional last axis of length 1."""
    if _has_shape(labels, shape):
        return np.asarray(labels).reshape(shape)
    raise _invalid(
        f"labels of output {name} are of a float dtype with shape {labels.shape}, the output has {shape};"
        " classes need an integer dtype"
    )


def _has_shape(labels: Array, shape: tuple[int, ...]) -> bool:
    return labels.shape in (shape, shape[:-1] if shape[-1] == 1 else shape, (*shape, 1))


def _invalid(message: str) -> DataError:
    return DataError(Reason.INVALID_DATA, f"{KEY}: {message}")
