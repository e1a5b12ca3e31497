"""Pruning by magnitude: in each tensor the elements with the smallest magnitude become zero."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from modelpress.api.contract import JobRequest
from modelpress.api.spec import Granularity
from modelpress.api.values import parse_percent
from modelpress.compression.passes.base import pruning
from modelpress.compression.passes.weights import WeightPass
from modelpress.models.types import Array

NOTE = "Zeros of single elements save stored bytes only: the served size and latency stay."


@dataclass(frozen=True)
class ElementPruning(WeightPass):
    """`pruning.sparsity` with granularity Element; `sparsity` is a percentage such as 50%."""

    sparsity: str
    name = "pruning"
    note = NOTE

    @property
    def parameters(self) -> Mapping[str, str]:
        """The share as it was given."""
        return {"sparsity": self.sparsity, "granularity": Granularity.ELEMENT.value}

    def edit(self, values: Array) -> tuple[Array, Mapping[str, float]]:
        """Prune a tensor."""
        return prune(values, parse_percent(self.sparsity) / 100)


def requested(request: JobRequest) -> ElementPruning | None:
    """Return the pass that a request asks for."""
    settings = pruning(request, Granularity.ELEMENT)
    return ElementPruning(settings.sparsity) if settings and settings.sparsity else None


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
