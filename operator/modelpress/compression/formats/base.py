"""A serving format: what is stored for the workers of one type of devices, and can be run and measured here.

What makes formats is behind protocols, so that the pipeline and the search for a scheme are the same for
every type of devices.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from modelpress.api.schemes import Scheme
from modelpress.artifacts import manifest
from modelpress.compression.evaluation import metrics
from modelpress.compression.evaluation.evaluation import CallableModel
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.report.document import PassReport
from modelpress.compression.schemes import Algorithm
from modelpress.models.types import Array, Arrays, LoadedModel, TensorSpec, unsupported

_FREE = 16  # stands for a free size where there is no data
_ROWS = 8
_OUTLIER = 30  # times the tolerance, for a single value


@dataclass(frozen=True)
class Format:
    """Files of a folder, and the model that they are, ready to run."""

    folder: Path
    files: tuple[str, ...]  # the first one is what a worker loads
    model: CallableModel
    compute_dtype: manifest.ComputeDtype | None = None  # set for TensorFlow formats

    @property
    def path(self) -> Path:
        """The file that a worker loads."""
        return self.folder / self.files[0]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum((self.folder / name).stat().st_size for name in self.files)

    def copy_to(self, folder: Path) -> None:
        """Copy the files into a folder, such as that of the artifact."""
        for name in self.files:
            shutil.copyfile(self.folder / name, folder / name)


@dataclass(frozen=True)
class QuantizationTask:
    """What to quantize to; `calibration` is for Int8Static and GPTQ.

    Without `algorithm` the best of the scheme's own ones is taken.
    """

    scheme: Scheme
    calibration: Calibration | None = None
    algorithm: Algorithm | None = None


@dataclass(frozen=True)
class Operator:
    """An operator of the float32 format with weights of its own, or several that share them."""

    name: str
    kind: str
    scopes: tuple[str, ...]  # how a mixture is told which ones these are
    bytes: int  # its weights take so many in float32
    width: int = 0  # of a fully connected one: how many inputs each of its outputs has

    @property
    def dense(self) -> bool:
        """Whether its weights can be int4 without falling to a slow kernel."""
        return self.kind == "FULLY_CONNECTED"

    @property
    def depthwise(self) -> bool:
        """Whether it is slow where activations are quantized in each call (measured)."""
        return self.kind == "DEPTHWISE_CONV_2D"


@dataclass(frozen=True)
class Mixture:
    """One scheme for all operators but some; None leaves the others in float32.

    `algorithm` is that of the base, MinMax where it is None; GPTQ needs `calibration`.
    """

    base: Scheme | None
    exceptions: Mapping[Operator, Scheme] = field(default_factory=dict)
    algorithm: Algorithm | None = None
    calibration: Calibration | None = None

    def describe(self) -> dict[str, str]:
        """Return the parameters of the pass: the scheme, and the operators of each other one."""
        found = {"scheme": self.base.value if self.base else "none"}
        if self.algorithm:
            found["algorithm"] = self.algorithm.value
        for scheme in dict.fromkeys(self.exceptions.values()):
            names = (item.name for item, other in self.exceptions.items() if other is scheme)
            found[scheme.value] = ", ".join(names)
        return found


class Formats(Protocol):
    """The formats of one model with the weights that it had when these were made."""

    @property
    def float32(self) -> Format:
        """The format that computes the same as the model."""
        ...

    def quantized(self, desired: QuantizationTask, folder: Path) -> tuple[Format, PassReport]:
        """Make another format in the folder `folder`; return it with the report of the pass.

        Raises UnsupportedModel where the scheme cannot be had for this model.
        """
        ...

    def opened(self, folder: Path) -> Format:
        """Load again what `quantized` made in the folder `folder`: a search does not keep all it made."""
        ...

    def values(self, format: Format, quantization: PassReport) -> Iterator[tuple[str, Array]]:
        """Yield the values that a quantized format computes with, by the name of the weight."""
        ...


@runtime_checkable
class MixedPrecisionFormats(Formats, Protocol):
    """Formats whose operators can have different schemes: an ability that not every type of devices has."""

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators that a mixture can name."""
        ...

    def trial(self, mixture: Mixture, folder: Path) -> Format:
        """Make a format for a measurement in the folder `folder`. Raises UnsupportedModel."""
        ...

    def mixed(self, mixture: Mixture, folder: Path) -> tuple[Format, PassReport]:
        """Make a format as `quantized` does; the mixture has a base."""
        ...


class FormatBackend(Protocol):
    """Makes the formats of one type of devices."""

    @property
    def kind(self) -> manifest.Form:
        """How the artifact's manifest calls them."""
        ...

    @property
    def measured_on(self) -> str:
        """What computes when formats are called in this process; the report says it of latencies."""
        ...

    @property
    def times_hold(self) -> bool:
        """Whether formats compared by time here compare in the same way on the workers' devices."""
        ...

    def formats(self, model: LoadedModel, sample: Arrays, folder: Path) -> Formats:
        """Make the float32 format of a model in the folder `folder`, and check it on `sample`.

        Raises UnsupportedModel where that is impossible, or where it computes something else.
        """
        ...


def check_numbers(format: Format, sample: Arrays) -> None:
    """Refuse a format whose outputs are no numbers: without evaluation no gate would see it."""
    for name, values in format.model.call(sample).items():
        if metrics.rows_without_numbers(values):
            raise unsupported(
                f"the compressed model's output {name} is NaN or infinite; choose another scheme"
            )


def example(inputs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Return inputs for a model without data: seeded normal numbers; integers 0 and 1, also for ids."""
    random = np.random.default_rng(0)
    rows = max(spec.shape[0] for spec in inputs)
    rows = rows if rows > 0 else _ROWS
    return {spec.name: _values(random, spec, rows) for spec in inputs}


def check_equal(expected: Arrays, found: Arrays, tolerance: float) -> None:
    """Compare outputs of a model with those of its float32 format; raises UnsupportedModel.

    `tolerance` is relative to the largest output, at least to 1, and bounds the root mean square of the
    differences; single values may differ by thirty times as much: sums in another order and a logarithm of a
    number near 0 do that in float32 (measured: 1.1e-3 in a model of sounds). Integers must be equal.
    """
    for name, values in expected.items():
        _check_equal(name, values, found[name], tolerance)


def _values(random: np.random.Generator, spec: TensorSpec, rows: int) -> Array:
    shape = (rows, *(size if size >= 0 else _FREE for size in spec.shape[1:]))
    if spec.table is None and np.dtype(spec.dtype).kind == "f":
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0, 2 if spec.table is None else min(2, spec.table.rows), shape).astype(spec.dtype)


def _check_equal(name: str, expected: Array, found: Array, tolerance: float) -> None:
    if expected.shape != found.shape:
        raise unsupported(f"output {name} has shape {expected.shape}, after the conversion {found.shape}")
    if expected.dtype.kind != "f":
        if not np.array_equal(expected, found):
            raise unsupported(f"output {name} changed in the conversion to float32")
        return
    finite = np.abs(expected[np.isfinite(expected)])
    allowed = tolerance * max(1.0, float(finite.max(initial=0)))
    with np.errstate(invalid="ignore"):  # the difference of equal infinities is no number
        differences = np.abs(expected.astype(np.float64) - found.astype(np.float64))
    mean = np.sqrt(np.square(differences[np.isfinite(differences)]).sum() / max(1, differences.size))
    if mean > allowed or not np.allclose(expected, found, rtol=0, atol=_OUTLIER * allowed, equal_nan=True):
        difference = float(np.nanmax(differences))
        raise unsupported(f"output {name} differs by {difference:.3g} after the conversion to float32")
