"""The serving form: a .tflite file of the model, first in float32 and compared with TensorFlow, then as
asked for.

Must not import TensorFlow (the model does, and the converter's process).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelpress.api.spec import Scheme
from modelpress.compression import metrics, tflite_file
from modelpress.compression.calibration import Calibration
from modelpress.compression.converter import FLOAT32, Converter, Material, StoredGraph
from modelpress.compression.litert import LiteRTModel
from modelpress.compression.passes import quantize
from modelpress.compression.report import PassReport
from modelpress.models.types import Array, Arrays, LoadedModel, TensorSpec, unsupported

TOLERANCE = 1e-4  # of the float32 form against TensorFlow, relative to the largest output, at least to 1
_FREE = 16  # stands for a free size where there is no data
_ROWS = 8


@dataclass(frozen=True)
class Form:
    """A .tflite file, ready to run."""

    path: Path
    model: LiteRTModel


@dataclass(frozen=True)
class Quantization:
    """What to quantize to; `calibration` is for Int8Static."""

    scheme: Scheme
    calibration: Calibration | None = None


def float32(
    model: LoadedModel, converter: Converter, sample: Arrays, folder: Path
) -> tuple[StoredGraph, Form]:
    """Convert the model with its current weights, and check that the result computes the same on `sample`.

    Raises UnsupportedModel where an operation has no built-in operator, weights are missing from the file, or
    outputs differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = StoredGraph(model.frozen_graph(), folder / "frozen.pb")
    path = folder / "float32.tflite"
    converter.convert(graph, FLOAT32, path)
    tflite_file.read(path)  # refuses a file that reads variables
    form = Form(path, LiteRTModel(path, model.inputs, model.outputs))
    wanted, found = model.call(sample), form.model.call(sample)
    for name, values in wanted.items():
        _check_equal(name, values, found[name])
    return graph, form


def quantized(
    model: LoadedModel,
    converter: Converter,
    plain: tuple[StoredGraph, Form],
    wanted: Quantization,
    target: Path,
) -> tuple[Form, PassReport]:
    """Convert the graph of a checked float32 form as `wanted`; return it with the report of the pass."""
    graph, before = plain
    converter.convert(graph, wanted.scheme.value, target, Material(before.path, wanted.calibration))
    files = [tflite_file.read(path) for path in (before.path, target)]
    report = quantize.report(wanted.scheme, files[0], files[1], model.weights)
    if wanted.calibration:
        report = report.model_copy(update={"note": wanted.calibration.describe()})
    return Form(target, LiteRTModel(target, model.inputs, model.outputs)), report


def check_numbers(form: Form, sample: Arrays) -> None:
    """Refuse a form whose outputs are no numbers: without evaluation no gate would see it."""
    for name, values in form.model.call(sample).items():
        if metrics.rows_without_numbers(values):
            raise unsupported(
                f"the compressed model's output {name} is NaN or infinite; choose another scheme"
            )


def example(inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Return inputs for a model without data: seeded normal numbers, integers 0 and 1."""
    random = np.random.default_rng(0)
    rows = max(spec.shape[0] for spec in inputs)
    rows = rows if rows > 0 else _ROWS
    return {spec.name: _values(random, spec, rows) for spec in inputs}


def _values(random: np.random.Generator, spec: TensorSpec, rows: int) -> Array:
    shape = (rows, *(size if size >= 0 else _FREE for size in spec.shape[1:]))
    if np.dtype(spec.dtype).kind == "f":
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0, 2, shape).astype(spec.dtype)


def _check_equal(name: str, wanted: Array, found: Array) -> None:
    if wanted.shape != found.shape:
        raise unsupported(f"output {name} has shape {wanted.shape}, after the conversion {found.shape}")
    if wanted.dtype.kind != "f":
        if not np.array_equal(wanted, found):
            raise unsupported(f"output {name} changed in the conversion to float32")
        return
    finite = np.abs(wanted[np.isfinite(wanted)])
    tolerance = TOLERANCE * max(1.0, float(finite.max(initial=0)))
    if not np.allclose(wanted, found, rtol=0, atol=tolerance, equal_nan=True):
        difference = float(np.nanmax(np.abs(wanted.astype(np.float64) - found.astype(np.float64))))
        raise unsupported(f"output {name} differs by {difference:.3g} after the conversion to float32")
