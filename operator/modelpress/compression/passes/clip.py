"""Weight clipping: W = max(min(W, upper), lower). Must not import TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelpress.api.values import parse_decimal
from modelpress.compression.passes.weights import edit_all
from modelpress.compression.report.document import PassReport
from modelpress.models.types import Array, LoadedModel


@dataclass(frozen=True)
class WeightClipping:
    """`optimization.weightClipping`; the bounds are quoted decimals."""

    lower: str
    upper: str
    name: str = "weightClipping"

    def apply(self, model: LoadedModel) -> PassReport:
        """Clip all kernels and embeddings."""
        lower, upper = parse_decimal(self.lower), parse_decimal(self.upper)

        def edit(values: Array) -> tuple[Array, Mapping[str, float]]:
            return clip(values, lower, upper)

        return PassReport(
            name=self.name,
            parameters={"min": self.lower, "max": self.upper},
            tensors=edit_all(self.name, model, edit),
        )


def clip(values: Array, lower: float, upper: float) -> tuple[Array, dict[str, float]]:
    """Return the clipped values, and the smallest and largest value before, where there are any."""
    clipped = np.clip(values, lower, upper).astype(values.dtype)
    if not values.size:
        return clipped, {}
    return clipped, {"smallest": float(values.min()), "largest": float(values.max())}
