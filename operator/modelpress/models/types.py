"""What a loaded model is: named inputs and outputs, and weights that passes can read and write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError

Array = npt.NDArray[Any]  # any dtype
Arrays = Mapping[str, Array]


class Kind(StrEnum):
    """How a model came, which decides what can be done to it."""

    LAYERS = "KerasLayers"  # a graph of Keras layers: it can be cut and rebuilt
    SAVED_MODEL = "SavedModel"  # a function and its variables
    TFLITE = "LiteRT"  # a .tflite file: it can be quantized, and not be changed otherwise


class Role(StrEnum):
    """What a variable does in the model. Only kernels and embeddings are pruned and clipped."""

    KERNEL = "kernel"  # multiplies activations: Dense, Conv, Einsum, recurrent
    EMBEDDING = "embedding"  # rows are looked up
    BIAS = "bias"
    NORMALIZATION = "normalization"  # gamma and beta
    STATISTICS = "statistics"  # moving mean and variance
    OTHER = "other"


EDITABLE = (Role.KERNEL, Role.EMBEDDING)


@dataclass(frozen=True)
class Table:
    """A lookup table of the model, such as an embedding."""

    name: str
    rows: int


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; -1 stands for a free size, `dtype` is a numpy name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    # of an input all of whose values are numbers of rows of tables: the smallest of these
    table: Table | None = field(default=None, compare=False)

    def __str__(self) -> str:
        sizes = ", ".join(
            "N" if i == 0 and n < 0 else "?" if n < 0 else str(n) for i, n in enumerate(self.shape)
        )
        return f"{self.name} {self.dtype}({sizes})"


@dataclass(frozen=True)
class ExportedModel:
    """A SavedModel in a folder, and the names in its signature, in the model's order."""

    folder: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class TrainingGraph:
    """What gradients need of a model. The calls take and return TensorFlow tensors in the model's order."""

    forward: Callable[[Sequence[Any]], Sequence[Any]]  # as in training, where the model has such a mode
    inference: Callable[[Sequence[Any]], Sequence[Any]]
    variables: tuple[Any, ...]  # the TensorFlow variables of `LoadedModel.weights`, in that order
    # states of layers such as Dropout: shape (2,), the first number is the seed
    random_states: tuple[Any, ...]
    training_mode: bool  # False: `forward` computes the same as `inference`


class Weight(Protocol):
    """A variable of the model."""

    @property
    def name(self) -> str:
        """Unique within the model, such as dense/kernel."""
        ...

    @property
    def role(self) -> Role:
        """What it does."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...

    @property
    def dtype(self) -> str:
        """Its numpy dtype name."""
        ...

    def read(self) -> Array:
        """Return a copy of its value."""
        ...

    def write(self, value: Array) -> None:
        """Replace its value; shape and dtype must stay."""
        ...


class LoadedModel(Protocol):
    """A model of either kind."""

    @property
    def kind(self) -> Kind:
        """How it came."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the model's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the model's order."""
        ...

    @property
    def weights(self) -> tuple[Weight, ...]:
        """All variables that the outputs depend on."""
        ...

    @property
    def constant_bytes(self) -> int:
        """Bytes of float constants of the graph that are as large as weights, counted in float32."""
        ...

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute the outputs of one batch, in inference mode.

        Raises ComputationError, and MemoryError where they need more memory than there is.
        """
        ...

    def export(self, folder: Path) -> ExportedModel:
        """Write the computation with the current weights as a SavedModel; `folder` is made.

        Raises UnsupportedModel for more than 2 GiB of weights, which no .tflite file can hold.
        """
        ...

    def training_graph(self) -> TrainingGraph:
        """Return the computation for training, over the weights themselves."""
        ...


class ComputationError(Exception):
    """A model does not compute the rows that it was called with; the message is one line.

    Whoever chose the rows knows whether they or the model are to blame, and raises an error of `api.errors`.
    """


def original_bytes(model: LoadedModel) -> int:
    """Return the bytes of the weights as float32, the measure that compression ratios refer to."""
    return model.constant_bytes + sum(
        4 * int(np.prod(weight.shape, dtype=np.int64)) for weight in model.weights
    )


def invalid(message: str) -> DataError:
    """Return the error for a model file that cannot be read or is not safe."""
    return DataError(Reason.INVALID_MODEL, one_line(message))


def unsupported(message: str) -> DataError:
    """Return the error for a model that can be read and not compressed or served as asked."""
    return DataError(Reason.UNSUPPORTED_MODEL, one_line(message))


def one_line(text: str, limit: int = 1000) -> str:
    """Return text as one printable line: it may quote names of a file that somebody else made."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 3] + "..."


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the first line of an error's text, for a message of one line."""
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line if len(line) <= limit else line[: limit - 3] + "..."
