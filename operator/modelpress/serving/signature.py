"""What a model takes and gives, as protocols need it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts.manifest import ArtifactManifest, TensorSpec

# what every protocol can carry
SERVED_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output: axis 0 of `shape` is the batch, -1 is a free size.

    `most` has the greatest sizes that are taken, where there are such limits; -1 for the batch.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    most: tuple[int, ...] | None = None

    @property
    def largest(self) -> tuple[int, ...]:
        """The shape with its greatest sizes; -1 where a size has none."""
        return self.most or self.shape

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether an array of `shape` fits, whatever its number of rows."""
        sizes, expected = tuple(shape[1:]), self.shape[1:]
        return len(shape) == len(self.shape) and (
            sizes == expected  # no size is free in most models: quicker
            or all(allowed in (-1, size) for allowed, size in zip(expected, sizes, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs in the model's order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def of(cls, manifest: ArtifactManifest) -> "Signature":
        """Return the signature that a manifest states.

        Raises DataError (UnsupportedModel) for a dtype that no protocol carries.
        """
        return cls(_tensors(manifest.inputs), _tensors(manifest.outputs))

    @property
    def has_free_sizes(self) -> bool:
        """Whether an input has a free size beside the batch, such as the length of a sequence."""
        return any(-1 in tensor.shape[1:] for tensor in self.inputs)

    def example(self, rows: int) -> list[npt.NDArray[np.generic]]:
        """Return inputs of zeros, 1 in free sizes: for warm-up and measurement."""
        return [
            np.zeros((rows, *(max(size, 1) for size in tensor.shape[1:])), tensor.dtype)
            for tensor in self.inputs
        ]


def _tensors(specs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    for spec in specs:
        if spec.dtype not in SERVED_DTYPES:
            raise DataError(
                Reason.UNSUPPORTED_MODEL, f"tensor {spec.name!r} is {spec.dtype}, which cannot be served"
            )
    return tuple(Tensor(spec.name, spec.shape, np.dtype(spec.dtype)) for spec in specs)
