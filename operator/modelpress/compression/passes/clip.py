"""Weight clipping: W = max(min(W, upper), lower)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelpress.api.contract import JobRequest
from modelpress.api.values import parse_decimal
from modelpress.compression.passes.weights import WeightPass
from modelpress.models.types import Array


@dataclass(frozen=True)
class ValueClipping(WeightPass):
    """`optimization.weightClipping`; the bounds are quoted decimals."""

    lower: str
    upper: str
    name = "weightClipping"

    @property
    def parameters(self) -> Mapping[str, str]:
        """The bounds as they were given."""
        return {"min": self.lower, "max": self.upper}

    def edit(self, values: Array) -> tuple[Array, Mapping[str, float]]:
        """Clip a tensor."""
        return clip(values, parse_decimal(self.lower), parse_decimal(self.upper))


def requested(request: JobRequest) -> ValueClipping | None:
    """Return the pass that a request asks for."""
    limits = request.optimization.weight_clipping if request.optimization else None
    return ValueClipping(limits.min, limits.max) if limits else None


def clip(values: Array, lower: float, upper: float) -> tuple[Array, dict[str, float]]:
    """Return the clipped values, and the smallest and largest value before, where there are any."""
    clipped = np.clip(values, lower, upper).astype(values.dtype)
    if not values.size:
        return clipped, {}
    return clipped, {"smallest": float(values.min()), "largest": float(values.max())}
