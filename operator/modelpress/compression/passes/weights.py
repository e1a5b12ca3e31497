"""Passes that change the values of weights in place, and what they have in common.

Only kernels and embeddings are changed; all other tensors are reported with the reason. Must not import
TensorFlow.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from modelpress.compression.passes.training.training_data import TrainingData
from modelpress.compression.report.document import PassReport, TensorReport
from modelpress.models.types import Array, LoadedModel, Role, Weight, unsupported

EDITABLE = (Role.KERNEL, Role.EMBEDDING)
_WHY = {
    Role.BIAS: "a bias",
    Role.NORMALIZATION: "a normalization parameter",
    Role.STATISTICS: "a moving statistic",
    Role.OTHER: "neither a kernel nor an embedding",
}

Edit = Callable[[Array], tuple[Array, Mapping[str, float]]]


class WeightPass(Protocol):
    """A pass over the weights of a model."""

    @property
    def name(self) -> str:
        """As the field of the spec."""
        ...

    def apply(self, model: LoadedModel) -> PassReport:
        """Change the weights and report every tensor. Raises UnsupportedModel where none can be."""
        ...


class TrainingPass(Protocol):
    """A pass that trains the weights of a model on data.training."""

    @property
    def name(self) -> str:
        """As the field of the spec."""
        ...

    def train(self, model: LoadedModel, data: TrainingData) -> PassReport:
        """Change the weights and report every tensor. Raises UnsupportedModel, UsageError (InvalidSpec)."""
        ...


def edit_all(name: str, model: LoadedModel, edit: Edit) -> tuple[TensorReport, ...]:
    """Apply `edit` to each kernel and embedding; it returns the new value and facts for the report."""
    if not any(weight.role in EDITABLE for weight in model.weights):
        raise unsupported(f"{name}: the model has no variables that are kernels or embeddings")
    return tuple(_edit(weight, edit) for weight in model.weights)


def _edit(weight: Weight, edit: Edit) -> TensorReport:
    report = TensorReport(
        name=weight.name,
        role=weight.role.value,
        shape=weight.shape,
        elements=int(np.prod(weight.shape, dtype=np.int64)),
    )
    if weight.role not in EDITABLE:
        return report.model_copy(update={"skipped": _WHY[weight.role]})
    before = weight.read()
    after, facts = edit(before)
    changed = int((before != after).sum())
    if changed:
        weight.write(after)
    return report.model_copy(update={"changed": changed, "facts": dict(facts)})
