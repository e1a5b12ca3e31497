"""Passes that change the values of weights in place, and what they have in common.

Only kernels and embeddings are changed; all other tensors are reported with the reason.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from modelpress.compression.passes.base import Pass, PassContext
from modelpress.compression.report.document import PassReport, TensorReport
from modelpress.models.types import EDITABLE, Array, LoadedModel, Role, Weight, unsupported

_WHY = {
    Role.BIAS: "a bias",
    Role.NORMALIZATION: "a normalization parameter",
    Role.STATISTICS: "a moving statistic",
    Role.OTHER: "neither a kernel nor an embedding",
}

Edit = Callable[[Array], tuple[Array, Mapping[str, float]]]


class WeightPass(Pass, Protocol):
    """A pass that changes the values of each kernel and embedding by themselves, in place."""

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, str]:
        """The settings for the report, as in the spec."""
        ...

    @property
    def note(self) -> str | None:
        """What a reader of the report must know of it."""
        return None

    @abstractmethod
    def edit(self, values: Array) -> tuple[Array, Mapping[str, float]]:
        """Return the new values of a tensor, of the same shape and dtype, and facts for the report."""
        ...

    def apply(self, model: LoadedModel, context: PassContext) -> tuple[LoadedModel, PassReport]:
        """Edit all kernels and embeddings. Raises UnsupportedModel where there are none."""
        if not any(weight.role in EDITABLE for weight in model.weights):
            raise unsupported(f"{self.name}: the model has no variables that are kernels or embeddings")
        return model, PassReport(
            name=self.name,
            parameters=dict(self.parameters),
            note=self.note,
            tensors=tuple(_edited(weight, self.edit) for weight in model.weights),
        )


def _edited(weight: Weight, edit: Edit) -> TensorReport:
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
