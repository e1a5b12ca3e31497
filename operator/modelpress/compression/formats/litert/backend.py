"""The format of CPU workers: a .tflite file, in float32 and compared with TensorFlow, then as asked for.

A model that comes as a .tflite file is its own float32 format, or the only one where it is quantized already.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from modelpress.api.errors import DataError
from modelpress.api.schemes import Scheme
from modelpress.artifacts import manifest
from modelpress.artifacts.manifest import MODEL_FILE
from modelpress.compression import schemes
from modelpress.compression.evaluation import metrics, weight_stats
from modelpress.compression.formats.base import Format, Mixture, Operator, QuantizationTask, check_equal
from modelpress.compression.formats.litert import quantize, tflite_file, tflite_operators
from modelpress.compression.formats.litert.converter import Converter, Material
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.compression.formats.litert.source import TfliteSource
from modelpress.compression.report.document import PassReport
from modelpress.compression.schemes import Algorithm
from modelpress.models.types import Array, Arrays, LoadedModel, Weight, unsupported

_log = logging.getLogger(__name__)
TOLERANCE = 1e-4  # relative difference between the float32 format and TensorFlow
_MISTAKEN = ("RFFT2D", "COMPLEX_ABS", "REAL", "IMAG")  # a complex transform becomes one of real numbers


class LiteRTFormats:
    """A `base.Formats` of .tflite files, which the converter makes."""

    def __init__(self, model: LoadedModel, converter: Converter, sample: Arrays, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._model = model
        self._converter = converter
        self._sample = sample
        if isinstance(model, TfliteSource):
            self._exported = None
            shutil.copyfile(model.path, folder / MODEL_FILE)
            self.float32 = self.opened(folder)
            return
        self._exported = model.export(folder / "exported")
        converter.convert(self._exported, None, folder / MODEL_FILE)
        operators = tflite_file.read(folder / MODEL_FILE).operators  # refuses a file that reads variables
        self.float32 = self.opened(folder)
        try:
            check_equal(model.call(sample), self.float32.model.call(sample), TOLERANCE)
        except DataError as error:
            raise unsupported(f"{error.message}{_suspects(operators)}") from error

    def quantized(self, desired: QuantizationTask, folder: Path) -> tuple[Format, PassReport]:
        """Convert the model of the checked float32 format as `desired`.

        Of the scheme's algorithms the one is taken whose outputs on the sample are closest to float32.
        """
        folder.mkdir(parents=True, exist_ok=True)
        algorithms = schemes.litert(desired.scheme).algorithms
        if desired.algorithm or not algorithms:
            return self._converted(desired, folder)
        expected, plain = self.float32.model.call(self._sample), replace(desired, calibration=None)
        trials = [
            self._tried(replace(plain, algorithm=item), folder / item.value, expected) for item in algorithms
        ]
        best = min(trials, key=lambda item: item.error)
        shutil.copyfile(best.folder / MODEL_FILE, folder / MODEL_FILE)
        for trial in trials:
            shutil.rmtree(trial.folder)
        told = ", ".join(f"{item.algorithm.value} {100 * item.error:.2g} %" for item in trials)
        note = f"error of the outputs on a sample: {told}; in {sum(item.seconds for item in trials):.2f} s"
        _log.info("%s by %s: %s", desired.scheme.value, best.algorithm.value, note)
        report = self._report(desired.scheme, folder / MODEL_FILE, best.algorithm)
        return self.opened(folder), report.model_copy(update={"note": f"{report.note} The {note}."})

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators of the float32 file that have weights."""
        return tflite_operators.read(self.float32.path)

    def trial(self, mixture: Mixture, folder: Path) -> Format:
        """Quantize some operators of the float32 file."""
        folder.mkdir(parents=True, exist_ok=True)
        exceptions = {scope: scheme for item, scheme in mixture.exceptions.items() for scope in item.scopes}
        material = Material(self.float32.path, mixture.calibration, exceptions, mixture.algorithm)
        self._converter.convert(self._exported, mixture.base, folder / MODEL_FILE, material)
        return self.opened(folder)

    def mixed(self, mixture: Mixture, folder: Path) -> tuple[Format, PassReport]:
        """Quantize the operators of the float32 file as the mixture says."""
        assert mixture.base is not None
        format = self.trial(mixture, folder)
        report = self._report(mixture.base, format.path, mixture.algorithm)
        return format, report.model_copy(update={"parameters": mixture.describe()})

    def values(self, format: Format, quantization: PassReport) -> Iterator[tuple[str, Array]]:
        """Yield the constants of the file, as numbers."""
        return weight_stats.stored_values(quantization, format.path)

    def opened(self, folder: Path) -> Format:
        """Load a .tflite file."""
        model = LiteRTModel(folder / MODEL_FILE, self._model.inputs, self._model.outputs)
        return Format(folder, (MODEL_FILE,), model)

    def _converted(self, desired: QuantizationTask, folder: Path) -> tuple[Format, PassReport]:
        format = self._convert(desired, folder)
        report = self._report(desired.scheme, format.path, desired.algorithm)
        if desired.calibration:
            what = "weights" if desired.algorithm else "activations"
            report = report.model_copy(update={"note": f"{what} {desired.calibration.describe()}"})
        return format, report

    def _convert(self, desired: QuantizationTask, folder: Path) -> Format:
        material = Material(self.float32.path, desired.calibration, algorithm=desired.algorithm)
        self._converter.convert(self._exported, desired.scheme, folder / MODEL_FILE, material)
        return self.opened(folder)

    def _tried(self, desired: QuantizationTask, folder: Path, expected: Arrays) -> "_Trial":
        """Make a format with one algorithm; compare its outputs on the sample with the `expected` ones."""
        assert desired.algorithm is not None
        folder.mkdir()
        start = time.perf_counter()
        found = self._convert(desired, folder).model.call(self._sample)
        error = metrics.relative_error(expected, found)
        return _Trial(desired.algorithm, folder, error, time.perf_counter() - start)

    def _report(self, scheme: Scheme, path: Path, algorithm: Algorithm | None = None) -> PassReport:
        """Compare a quantized file with the float32 file."""
        before, after = (tflite_file.read(item) for item in (self.float32.path, path))
        moved = algorithm is Algorithm.GPTQ
        report = quantize.report(scheme, quantize.Pair(before, after, moved=moved), self._weights)
        if algorithm:
            return report.model_copy(
                update={"parameters": {**report.parameters, "algorithm": algorithm.value}}
            )
        return report

    @cached_property
    def _weights(self) -> dict[str, Weight]:
        """The weights behind the constants of the float32 file."""
        return quantize.weights_of(tflite_file.read(self.float32.path).constants, self._model.weights)


@dataclass(frozen=True)
class _Trial:
    """A format that one algorithm made: the relative error of its outputs, and how long all of it took."""

    algorithm: Algorithm
    folder: Path
    error: float
    seconds: float


def _suspects(operators: Sequence[str]) -> str:
    """Name the operators that the converter is known to take for others."""
    found = sorted({name for name in operators if name in _MISTAKEN})
    return f" (its operators {', '.join(found)})" if found else ""


class LiteRTBackend:
    """A `base.FormatBackend` for CPU devices."""

    kind = manifest.Form.TFLITE
    measured_on = "LiteRT on one thread of the machine that compressed"
    times_hold = True

    def __init__(self, converter: Converter) -> None:
        self._converter = converter

    def formats(self, model: LoadedModel, sample: Arrays, folder: Path) -> LiteRTFormats:
        """Convert the model with its current weights.

        Raises UnsupportedModel where an operation has no built-in operator, weights are missing from the
        file, or outputs differ.
        """
        return LiteRTFormats(model, self._converter, sample, folder)
