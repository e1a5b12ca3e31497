"""How much memory longer inputs take, where the model leaves sizes open beside the batch.

The serving format is called with one row of growing size until a call takes as much as a whole batch may, or
too long, or the model refuses the size: a position that its table does not have. Workers derive from it how
long the inputs of their batches may be (`serving.input_limits`).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from modelpress.api import batch_memory
from modelpress.artifacts.manifest import InputSizes, RowMemory, Shapes
from modelpress.compression import memory
from modelpress.compression.formats.base import Format
from modelpress.compression.json_process import JsonProcess
from modelpress.models.types import Arrays, LoadedModel, TensorSpec

_BATCH_BYTES = batch_memory.of(1)
_CALL_BYTES = 2 * _BATCH_BYTES  # so that the step beyond _BATCH_BYTES is measured, too, in most models
_PROCESS_BYTES = 1024 * 2**20  # a process with TensorFlow needs that
_WEIGHTS_FACTOR = 8  # times the file, what a runtime makes of it
_START_SECONDS = 300.0
_CALL_SECONDS = 5.0
_ALL_SECONDS = 30.0

_SERVER = "modelpress.compression.evaluation.size_probe"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Took:
    """A call that was computed in so many bytes."""

    bytes: int


class Refused:
    """The model does not compute this size."""


class TooMuch:
    """A call that took too much time or memory."""


Answer = Took | Refused | TooMuch


def measure(served: Format, model: LoadedModel, sample: Arrays, folder: Path) -> InputSizes | None:
    """Return what inputs of the format `served` take; `sample` has real ones. Scratch files go to `folder`.

    None where no size is free, and where there is too little memory to find out.
    """
    inputs = model.inputs
    known: Shapes = tuple(tuple(sample[spec.name].shape[1:]) for spec in inputs)
    longest = _longest(inputs, known)
    if longest is None or any(spec.shape[0] > 0 for spec in inputs):
        return None
    spare = memory.available() - _PROCESS_BYTES - _WEIGHTS_FACTOR * served.bytes
    if spare < _BATCH_BYTES:
        _log.warning("There is too little memory to find out what longer inputs take: no limit is stated.")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    request = _request(served, model, sample, folder, min(spare, _CALL_BYTES))
    with _Probe(request, folder / "size_probe.log") as probe:
        found = grow(longest, lambda size: probe.call(_scaled(inputs, known, size)))
    if not found:
        _log.warning("No call with other sizes of inputs could be measured: no limit is stated.")
        return None
    steps = tuple(
        RowMemory(shapes=_scaled(inputs, known, size), bytes=taken) for size, taken in found.items()
    )
    return InputSizes(known=known, memory=steps)


def grow(known: int, call: Callable[[int], Answer], seconds: float = _ALL_SECONDS) -> dict[int, int]:
    """Return the bytes of calls by size, from 1 on, doubled until one takes more than a batch may.

    Sizes below `known`, one that works, may be refused. Beyond, the largest that is not is looked for.
    """
    end = time.monotonic() + seconds
    found: dict[int, int] = {}
    size, refused = 1, None
    while time.monotonic() < end and max(found.values(), default=0) <= _BATCH_BYTES:
        answer = call(size)
        if isinstance(answer, Took):
            found[size] = answer.bytes
        elif isinstance(answer, TooMuch):
            break
        elif max(found.values(), default=0) > _BATCH_BYTES // 4:
            break  # some runtimes say so where memory runs out
        elif found or size >= known:
            refused = size
        if refused is None:
            size = 2 * size if found else min(2 * size, max(known, size + 1))
            continue
        largest = max(found, default=refused - 1)
        if refused - largest <= 1:
            break
        size = (largest + refused) // 2
    return dict(sorted(found.items()))


def _longest(inputs: Sequence[TensorSpec], known: Shapes) -> int | None:
    """Return the largest of the free sizes, None where there are none."""
    sizes = [
        size
        for spec, shape in zip(inputs, known, strict=True)
        for free, size in zip(spec.shape[1:], shape, strict=True)
        if free < 0
    ]
    return max(1, *sizes) if sizes else None


def _scaled(inputs: Sequence[TensorSpec], known: Shapes, size: int) -> Shapes:
    """Return the known shapes with all free sizes in proportion, the largest of them `size`."""
    longest = _longest(inputs, known) or 1
    return tuple(
        tuple(
            max(1, have * size // longest) if free < 0 else have
            for free, have in zip(spec.shape[1:], shape, strict=True)
        )
        for spec, shape in zip(inputs, known, strict=True)
    )


def _request(served: Format, model: LoadedModel, sample: Arrays, folder: Path, most: int) -> dict[str, Any]:
    """Return what the process is told first."""
    path = folder / "sample.npz"
    rows = {str(index): sample[spec.name][:1] for index, spec in enumerate(model.inputs)}
    np.savez(path, **rows)  # type: ignore[arg-type]  # numpy's types name its other arguments only
    return {
        "path": str(served.path),
        "inputs": [[spec.name, spec.shape, spec.dtype] for spec in model.inputs],
        "outputs": [[spec.name, spec.shape, spec.dtype] for spec in model.outputs],
        "sample": str(path),
        "most": most,
    }


class _Probe:
    """The client of `size_probe`; a call that takes too much ends the process."""

    def __init__(self, request: dict[str, Any], log: Path) -> None:
        self._request = request
        self._log = log  # what runtimes print
        self._process: JsonProcess | None = None

    def __enter__(self) -> Self:
        self._process = JsonProcess(_SERVER, self._log)
        self._ask(self._request, _START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def call(self, shapes: Shapes) -> Answer:
        """Compute one row of these shapes."""
        answer = self._ask(shapes, _CALL_SECONDS)
        if answer is None:
            return TooMuch()
        if "bytes" in answer:
            return Took(answer["bytes"])
        _log.info("A call with inputs of %s failed: %s", list(map(list, shapes)), answer)
        return TooMuch() if "memory" in answer else Refused()

    def _ask(self, question: Any, seconds: float) -> dict[str, Any] | None:
        """Return the answer to a question, None where the process has ended or takes longer."""
        answer = self._process.ask(question, seconds) if self._process else None
        if answer is None:
            self._end()
        return answer

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
