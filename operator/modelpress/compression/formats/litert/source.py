"""A .tflite file that somebody else made, as the model to compress: LiteRT runs it, no TensorFlow is needed.

Its operators are looked at before LiteRT is: one without its settings ends a process by a signal.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.schemes import DeviceType, Scheme
from modelpress.artifacts import allowed_operators, trial
from modelpress.compression.evaluation import weight_stats
from modelpress.compression.formats.base import example
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.model import LiteRTModel, last_line
from modelpress.compression.formats.litert.tflite_file import Constant, TfliteFile
from modelpress.models.types import (
    Array,
    Arrays,
    ComputationError,
    ExportedModel,
    Kind,
    Role,
    TensorSpec,
    TrainingGraph,
    invalid,
    unsupported,
)


def recognised(path: Path) -> bool:
    """Return whether a file says that it is a .tflite file."""
    return path.is_file() and allowed_operators.recognised(path)


@dataclass(frozen=True)
class FileWeight:
    """A constant of the file as a weight, which cannot be changed; integers are read as numbers."""

    constant: Constant

    @property
    def name(self) -> str:
        """The name of its tensor."""
        return self.constant.name

    @property
    def role(self) -> Role:
        """A file does not say it: what has two axes or more multiplies."""
        return Role.KERNEL if self.constant.values.ndim >= 2 else Role.BIAS

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.constant.values.shape

    @property
    def dtype(self) -> str:
        """The dtype in the file."""
        return self.constant.dtype

    def read(self) -> Array:
        """Return a copy of its numbers, float32."""
        found = weight_stats.dequantized(self.constant)
        values = self.constant.values if found is None else found
        return np.array(values, np.float32)

    def write(self, value: Array) -> None:
        """Raise UnsupportedModel."""
        raise _fixed(self.name, "have a weight changed")


class TfliteSource:
    """Implements `models.types.LoadedModel`; see `load`."""

    kind = Kind.TFLITE
    constant_bytes = 0

    def __init__(self, path: Path, content: TfliteFile) -> None:
        self.path = path
        self._content = content
        self.inputs, self.outputs = _signature(path)

    @cached_property
    def weights(self) -> tuple[FileWeight, ...]:
        """The constants that are floats, or stand for floats."""
        found = (
            item for item in self._content.constants if item.dtype.startswith("float") or item.scale.size
        )
        return tuple(FileWeight(item) for item in found)

    @property
    def quantized(self) -> str | None:
        """The dtype of weights that are quantized already, such as int8; None: all are float32."""
        found = {item.dtype for item in self._content.constants if item.scale.size or item.dtype == "float16"}
        return ", ".join(sorted(found - {"int32"})) or None  # int32: biases

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute the outputs of one batch. Raises ComputationError."""
        model = self._model
        try:
            return model.call(inputs)
        except DataError as error:  # here the rows can be to blame: the file is what the user gave
            raise ComputationError(error.message) from error

    def export(self, folder: Path) -> ExportedModel:
        """Raise UnsupportedModel: nothing makes a SavedModel of it."""
        raise _fixed(self.path.name, "become a SavedModel")

    def training_graph(self) -> TrainingGraph:
        """Raise UnsupportedModel."""
        raise _fixed(self.path.name, "be trained")

    @cached_property
    def _model(self) -> LiteRTModel:
        return LiteRTModel(self.path, self.inputs, self.outputs)


def check_request(name: str, passes: Sequence[str], device: DeviceType) -> None:
    """Refuse what cannot be done to the .tflite file `name`. Raises UnsupportedModel."""
    if device is not DeviceType.CPU:
        raise _fixed(name, f"serve on {device.value} devices")
    if passes:
        raise _fixed(name, f"go through {passes[0]}, which changes its weights")


def load(path: Path, scheme: Scheme | None) -> TfliteSource:
    """Load a .tflite file, of which the format of a scheme is to be made; None: it is served as it is.

    Raises DataError: InvalidModel where it is broken, UnsupportedModel where it cannot be served, or has been
    quantized before.
    """
    try:
        content = tflite_file.read(path)
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        UnicodeDecodeError,
        struct.error,
    ) as error:
        raise _broken(path) from error
    if said := allowed_operators.problem(path):  # a worker would not load it either
        raise unsupported(f"{path.name}: {said}")
    trial.check(path.name, lambda: _load_and_call(path, content), Reason.INVALID_MODEL)
    model = TfliteSource(path, content)
    if scheme and model.quantized:
        raise unsupported(
            f"{path.name}: is quantized already (weights are {model.quantized}): without"
            " compression.quantization it is judged and served as it is"
        )
    return model


def _load_and_call(path: Path, content: TfliteFile) -> None:
    model = TfliteSource(path, content)
    model.call(example(model.inputs))


def _broken(path: Path) -> DataError:
    return invalid(f"{path.name}: is no whole .tflite file")


def _fixed(name: str, what: str) -> DataError:
    return unsupported(
        f"{name}: a .tflite file cannot {what}; give the .keras file or SavedModel that it is of"
    )


def _signature(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs in the file's order, with the names of its signature where it has one."""
    try:
        interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
        names = _names(interpreter)
        return (
            _specs(interpreter.get_input_details(), names),
            _specs(interpreter.get_output_details(), names),
        )
    except ValueError as error:
        raise _broken(path) from error
    except RuntimeError as error:
        raise unsupported(f"{path.name}: LiteRT cannot load it: {last_line(error)}") from error


def _names(interpreter: Any) -> dict[int, str]:
    """Return the names of a signature by the index of the tensor; none where there are several."""
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    details = {**runner.get_output_details(), **runner.get_input_details()}
    return {int(detail["index"]): name for name, detail in details.items()}


def _specs(details: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            names.get(int(detail["index"]), str(detail["name"])),
            tuple(int(size) for size in detail["shape_signature"]),
            np.dtype(detail["dtype"]).name,
        )
        for detail in details
    )
