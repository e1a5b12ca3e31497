"""The format for GPU workers: the structure of the model, and its variables as a scheme stores them.

What layers compute in follows from the scheme; the format without one computes in float32, and so does every
SavedModel, whose graph is fixed. What is measured here is computed by the code that serves, on the devices of
this machine.
"""

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import manifest, weights
from modelpress.artifacts.manifest import ComputeDtype
from modelpress.artifacts.weights import WEIGHTS_FILE
from modelpress.compression import schemes
from modelpress.compression.evaluation import metrics
from modelpress.compression.formats.base import Format, QuantizationTask, check_equal
from modelpress.compression.formats.litert import quantize
from modelpress.compression.formats.tensorflow import stored_weights
from modelpress.compression.report.document import PassReport, TensorReport
from modelpress.models import stored_model, structure
from modelpress.models.graph_model import Signature
from modelpress.models.types import Array, Arrays, Kind, LoadedModel

TOLERANCE = 1e-4  # relative difference between the float32 format and the original
_FIXED = "The graph of a SavedModel computes in float32: the weights become float32 when they are loaded."


class TensorFlowFormats:
    """A `base.Formats` of structures and stored variables."""

    def __init__(self, model: LoadedModel, sample: Arrays, folder: Path) -> None:
        self._model = model
        self._sample = sample
        stored = (weights.plain(weight.name, weight.read()) for weight in model.weights)
        self.float32 = self._written(folder, ComputeDtype.FLOAT32, stored)
        check_equal(model.call(sample), self.float32.model.call(sample), TOLERANCE)

    def quantized(self, desired: QuantizationTask, folder: Path) -> tuple[Format, PassReport]:
        """Store the variables as `desired`.

        Where the layers cannot compute in float16, or leave its range on the sample, the schemes of integers
        compute in float32, and the report says so.
        """
        reports: list[TensorReport] = []

        def stored() -> Iterator[weights.StoredTensor]:
            reports.clear()
            for weight in self._model.weights:
                tensor, report = stored_weights.store(desired.scheme, weight)
                reports.append(report)
                yield tensor

        settings, why = schemes.tensorflow(desired.scheme), None
        compute = settings.compute if self._model.kind is Kind.LAYERS else ComputeDtype.FLOAT32
        can_widen = settings.integers and compute is not ComputeDtype.FLOAT32
        try:
            format = self._written(folder, compute, stored())
            if can_widen and self._loses_numbers(format):
                why = "outputs left the range of float16"
        except DataError as error:
            if error.reason is not Reason.UNSUPPORTED_MODEL or not can_widen:
                raise
            why = "its layers do not compute in float16"
        if why:
            format = self._written(folder, ComputeDtype.FLOAT32, stored())
        return format, PassReport(
            name=quantize.NAME,
            parameters={"scheme": desired.scheme.value},
            note=self._note(format, why),
            tensors=tuple(reports),
        )

    def opened(self, folder: Path) -> Format:
        """Load the files of a folder, as a worker does."""
        names = (name for name in (structure.LAYERS_FILE, structure.GRAPH_FILE) if (folder / name).is_file())
        file = next(names)
        signature = Signature(self._model.inputs, self._model.outputs)
        model = stored_model.load(folder / file, weights.read(folder / WEIGHTS_FILE), signature)
        return Format(folder, (file, WEIGHTS_FILE), model, ComputeDtype(model.compute))

    def values(self, format: Format, quantization: PassReport) -> Iterator[tuple[str, Array]]:
        """Yield the stored variables, as numbers."""
        for tensor in weights.read(format.folder / WEIGHTS_FILE):
            yield tensor.name, tensor.values()

    def _written(self, folder: Path, compute: ComputeDtype, stored: Iterator[weights.StoredTensor]) -> Format:
        folder.mkdir(parents=True, exist_ok=True)
        structure.write(self._model, folder, compute.value)
        weights.save(stored, folder / WEIGHTS_FILE)
        return self.opened(folder)

    def _loses_numbers(self, format: Format) -> bool:
        return any(
            metrics.rows_without_numbers(values) for values in format.model.call(self._sample).values()
        )

    def _note(self, format: Format, why: str | None) -> str:
        if self._model.kind is not Kind.LAYERS:
            return _FIXED
        found = f"Layers compute in {format.compute_dtype}"
        return f"{found}: {why}." if why else f"{found}, but those that are fragile, in float32."


class TensorFlowBackend:
    """A `base.FormatBackend` for GPU devices; needs none."""

    kind = manifest.Form.TENSORFLOW

    @property
    def measured_on(self) -> str:
        """What computes in this process."""
        if self.times_hold:
            return "TensorFlow on a GPU of the machine that compressed; those of the workers may differ"
        return (
            "TensorFlow on the CPU of the machine that compressed; the GPUs of the workers are not measured"
        )

    @property
    def times_hold(self) -> bool:
        """Whether this process computes on a GPU."""
        return bool(tf.config.list_physical_devices("GPU"))

    def formats(self, model: LoadedModel, sample: Arrays, folder: Path) -> TensorFlowFormats:
        """Write the structure and the variables as they are, and load them again.

        Raises UnsupportedModel where the layers cannot be rebuilt, or outputs differ.
        """
        return TensorFlowFormats(model, sample, folder)
