"""Runs a .tflite file with LiteRT, the runtime that serves it: what is measured is what will answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from modelpress.models.types import Array, Arrays, TensorSpec, unsupported


class LiteRTModel:
    """A .tflite file; inputs and outputs are its tensors in order, under the model's names.

    One thread may use it at a time. Raises UnsupportedModel where the runtime cannot prepare it, or where its
    tensors are not those of the model.
    """

    def __init__(self, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        try:
            self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
        except (ValueError, RuntimeError) as error:
            raise unsupported(f"LiteRT cannot load the converted model: {last_line(error)}") from error
        self._inputs = _pair("input", inputs, self._interpreter.get_input_details())
        self._outputs = _pair("output", outputs, self._interpreter.get_output_details())
        self._sizes: list[tuple[int, ...]] = []

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute one batch; the same sizes as in the call before cost nothing extra."""
        sizes = [inputs[spec.name].shape for spec, _ in self._inputs]
        try:
            if sizes != self._sizes:
                for (_, index), size in zip(self._inputs, sizes, strict=True):
                    self._interpreter.resize_tensor_input(index, size)
                self._interpreter.allocate_tensors()
                self._sizes = sizes
            for spec, index in self._inputs:
                self._interpreter.set_tensor(index, inputs[spec.name])
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise unsupported(f"LiteRT cannot run the converted model: {last_line(error)}") from error
        return {spec.name: np.array(self._interpreter.get_tensor(index)) for spec, index in self._outputs}


def _pair(
    what: str, specs: Sequence[TensorSpec], details: list[dict[str, Any]]
) -> list[tuple[TensorSpec, int]]:
    if len(specs) != len(details):
        raise unsupported(f"the converted model has {len(details)} {what}s, the original {len(specs)}")
    pairs = []
    for spec, detail in zip(specs, details, strict=True):
        dtype, shape = np.dtype(detail["dtype"]).name, detail["shape_signature"].tolist()
        fits = len(shape) == len(spec.shape) and all(
            -1 in (have, want) or have == want for have, want in zip(shape, spec.shape, strict=True)
        )
        if dtype != spec.dtype or not fits:
            raise unsupported(f"{what} {spec} became {dtype}{tuple(shape)} in the conversion")
        pairs.append((spec, int(detail["index"])))
    return pairs


def last_line(error: Exception) -> str:
    """Return the last line of a runtime's error: those before it are places in its sources."""
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
