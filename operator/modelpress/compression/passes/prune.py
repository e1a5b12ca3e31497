"""Pruning by magnitude: in each tensor the elements with the smallest magnitude become zero.

Must not import TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from modelpress.api.values import parse_percent
from modelpress.compression.passes.weights import edit_all
from modelpress.compression.report.document import PassReport
from modelpress.models.types import Array, LoadedModel

NOTE = "Zeros of single elements save stored bytes only: the served size and latency stay."


@dataclass(frozen=True)
class ElementPruning:
    """`pruning.sparsity` with granularity Element; `sparsity` is a percentage such as 50%."""

    sparsity: str
    name: str = "pruning"

    def apply(self, model: LoadedModel) -> PassReport:
        """Prune all kernels and embeddings."""
        share = parse_percent(self.sparsity) / 100

        def edit(values: Array) -> tuple[Array, Mapping[str, float]]:
            return prune(values, share)

        return PassReport(
            name=self.name,
            parameters={"sparsity": self.sparsity, "granularity": "Element"},
            note=NOTE,
            tensors=edit_all(self.name, model, edit),
        )


def prune(values: Array, share: Decimal) -> tuple[Array, dict[str, float]]:
    """Return `values` with floor(size * share) elements of the smallest magnitude set to zero.

    `share` is exact: as a float, 29 % of 100 elements would be 28. Of equal magnitudes the first in memory
    order go, so that the result depends on the values only. The facts are the threshold (largest magnitude
    that went) and the sparsity before and after, from 0 to 1.
    """
    flat = values.ravel()
    count = int(flat.size * share)
    facts = {"sparsityBefore": _sparsity(flat)}
    threshold = 0.0
    pruned = flat.copy()
    if count:
        order = np.argsort(np.abs(flat), kind="stable")[:count]
        threshold = float(np.abs(flat[order[-1]]))
        pruned[order] = 0
    return pruned.reshape(values.shape), {**facts, "threshold": threshold, "sparsity": _sparsity(pruned)}


def _sparsity(values: Array) -> float:
    return float((values == 0).mean()) if values.size else 0.0
