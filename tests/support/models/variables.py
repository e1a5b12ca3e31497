"""Weights that are arrays, for passes and statistics: no model, and no TensorFlow."""

from dataclasses import dataclass

from modelpress.models.types import Array, Role


@dataclass
class Variable:
    """A `models.types.Weight` in memory."""

    name: str
    role: Role
    value: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> str:
        return self.value.dtype.name

    def read(self) -> Array:
        return self.value.copy()

    def write(self, value: Array) -> None:
        self.value = value
