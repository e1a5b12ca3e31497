"""The CPU executor: one LiteRT interpreter with XNNPACK and one thread.

Facts that shaped it, measured: resizing to the exact batch costs microseconds, so batches are never padded;
results of a row do not depend on the rows beside it; a held view of a tensor breaks the next call, so
outputs are copies; the interpreter releases the GIL while it computes.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.spec import Parallelism, Serving
from modelpress.artifacts import allowed_operators, trial
from modelpress.artifacts.manifest import ArtifactManifest, TensorSpec
from modelpress.serving.executors.base import Array, Arrays, Executor, InputError
from modelpress.serving.signature import Signature


class LiteRTExecutor:
    """Runs one .tflite model: a whole one (a path, mapped into memory) or a piece (its bytes).

    A whole model is allocated at once, at the shapes in its file. Those of a piece's inputs were never
    computed together and may not fit each other, so a piece is allocated when it first runs.
    Raises DataError (ModelLoadFailed) for what LiteRT cannot read, or allocate at once.
    """

    def __init__(self, model: Path | bytes) -> None:
        self._interpreter = _open(model)
        details = self._interpreter.get_input_details()
        self.input_details: list[dict[str, Any]] = details
        self.output_details: list[dict[str, Any]] = self._interpreter.get_output_details()
        self._inputs = [int(detail["index"]) for detail in details]
        self._outputs = [int(detail["index"]) for detail in self.output_details]
        self._shapes: list[tuple[int, ...]] | None = None  # inputs of the last run; a piece may have none

    def run(self, inputs: Arrays) -> list[Array]:
        """Compute the outputs of `inputs`; a change of any shape resizes the interpreter first."""
        interpreter = self._interpreter
        shapes = [array.shape for array in inputs]
        try:
            if shapes != self._shapes:
                self._shapes = None
                for index, shape in zip(self._inputs, shapes, strict=True):
                    interpreter.resize_tensor_input(index, shape)
                interpreter.allocate_tensors()
                self._shapes = shapes
            for index, array in zip(self._inputs, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in self._outputs]
        except (RuntimeError, ValueError) as error:
            self._shapes = None
            raise InputError(one_line(error)) from error

    def close(self) -> None:
        """Free the interpreter."""
        del self._interpreter


def load_copies(
    folder: Path, manifest: ArtifactManifest, parallelism: Parallelism, serving: Serving
) -> list[list[Executor]]:
    """Return one chain of executors for each copy: one interpreter, or one for each stage.

    Batches of any size need nothing before. Raises DataError: ModelLoadFailed or UnsupportedModel.
    """
    if parallelism.tensor > 1:
        raise DataError(
            Reason.UNSUPPORTED_MODEL,
            f"the artifact is of form {manifest.form}, for CPU devices: parallelism.tensor needs GPU devices",
        )
    path = folder / manifest.model_file
    _try_apart(path, manifest, math.ceil(serving.max_batch_size / parallelism.data))
    if parallelism.pipeline == 1:
        return [[_checked(path, manifest)] for _ in range(parallelism.data)]
    _checked(path, manifest)
    # the reader of .tflite files costs 15 MB, which only pipelines need
    from modelpress.serving.executors.stages import PieceExecutor, cut  # noqa: PLC0415

    pieces = cut(path, Signature.of(manifest), parallelism.pipeline)
    return [[PieceExecutor(piece) for piece in pieces] for _ in range(parallelism.data)]


def _try_apart(path: Path, manifest: ArtifactManifest, rows: int) -> None:
    """Check the operators of a model, and load and call it once in a child process."""
    if said := allowed_operators.problem(path):
        raise _load_failed(f"{path.name} {said}")
    signature = Signature.of(manifest)

    def load_and_call() -> None:
        executor = _checked(path, manifest)
        for count in sorted({1, rows}):
            executor.run(signature.example(count))

    trial.check(path.name, load_and_call, Reason.MODEL_LOAD_FAILED)


def _checked(path: Path, manifest: ArtifactManifest) -> LiteRTExecutor:
    executor = LiteRTExecutor(path)
    check_signature(executor, manifest.inputs, manifest.outputs)
    return executor


def check_signature(
    executor: LiteRTExecutor, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Compare the model with the manifest's inputs and outputs, one by one: names are the manifest's.

    Raises DataError (ModelLoadFailed) where count, dtype or sizes differ, or the batch axis is not free.
    """
    for what, details, specs in (
        ("inputs", executor.input_details, inputs),
        ("outputs", executor.output_details, outputs),
    ):
        if len(details) != len(specs):
            raise _load_failed(f"the model has {len(details)} {what}, manifest.json lists {len(specs)}")
        for index, (detail, spec) in enumerate(zip(details, specs, strict=True)):
            where = f"{what}[{index}] {spec.name!r}"
            dtype = detail["dtype"].__name__
            shape = tuple(int(size) for size in detail["shape_signature"])
            if dtype != spec.dtype:
                raise _load_failed(f"{where}: the model's dtype is {dtype}, manifest.json says {spec.dtype}")
            if what == "inputs" and (not spec.shape or spec.shape[0] != -1 or shape[:1] != (-1,)):
                raise _load_failed(f"{where}: the batch axis is not free: {list(shape)}")
            if what == "inputs" and shape != spec.shape:
                raise _load_failed(
                    f"{where}: the model's shape is {list(shape)}, manifest.json says {list(spec.shape)}"
                )


def one_line(error: Exception) -> str:
    """Return the first line of a runtime's message, without file and line of its sources."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _open(model: Path | bytes) -> Interpreter:
    try:
        if isinstance(model, bytes):
            return Interpreter(model_content=model, num_threads=1)
        interpreter = Interpreter(model_path=str(model), num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        what = model.name if isinstance(model, Path) else "a stage of the model"
        raise _load_failed(f"LiteRT cannot load {what}: {one_line(error)}") from error
    return interpreter


def _load_failed(message: str) -> DataError:
    return DataError(Reason.MODEL_LOAD_FAILED, message)
