"""Quantization of the variables of the format for GPUs, and its report. `schemes` has the storage of each.

- int8, int4: kernels and embeddings as x_q = round(x * scale), symmetric: scale = 127 / max|x|
  or 7 / max|x| of each channel of the last axis, zero point 0. The last axis of a kernel is that of its
  output channels (of a depthwise one, with a last axis of 1, the axis before it), of an embedding that of its
  columns: a scale for each row would add 4 bytes to each row.
- float16, bfloat16: kernels, embeddings and biases rounded to nearest, ties to even. What float16 cannot hold
  is cut to 65504.

All else stays float32: it is small, and what it scales or shifts is sensitive.
"""

from dataclasses import asdict

import ml_dtypes
import numpy as np

from modelpress.api.schemes import Scheme
from modelpress.artifacts import int4, weights
from modelpress.artifacts.weights import StoredTensor
from modelpress.compression import schemes
from modelpress.compression.formats import formula
from modelpress.compression.formats.formula import Integers
from modelpress.compression.formats.litert.quantize import BEYOND_FLOAT16
from modelpress.compression.report.document import FormulaReport, TensorReport
from modelpress.compression.schemes import StoredDtype, StoredSettings
from modelpress.models.types import EDITABLE, Array, Role, Weight

_FEW = 1024  # elements, as for the format for CPUs: what is saved is less than the file's words on it
_STAYS = {
    Role.BIAS: "biases stay float32",
    Role.NORMALIZATION: "normalization parameters stay float32",
    Role.STATISTICS: "moving statistics stay float32",
    Role.OTHER: "neither a kernel nor an embedding: it stays as it is",
}


def store(scheme: Scheme, weight: Weight) -> tuple[StoredTensor, TensorReport]:
    """Return a weight as a scheme stores it, and what that did to it."""
    value = weight.read()
    report = TensorReport(
        name=weight.name,
        role=weight.role.value,
        shape=value.shape,
        elements=value.size,
        bytes_before=value.nbytes,
        served_as=f"value/{weight.name}",
    )
    settings = schemes.tensorflow(scheme)
    if reason := _why_not(settings, weight.role, value):
        kept = weights.plain(weight.name, value)
        return kept, report.model_copy(update={"bytes_after": kept.nbytes, "skipped": reason})
    if settings.integers:
        found = integers(value, settings.storage)
        stored = _stored(weight.name, found, settings.storage)
        update: dict[str, object] = {"formula": FormulaReport(**asdict(formula.compare(found, value)))}
    else:
        stored, facts = _half(weight.name, value, settings.storage)
        update = {"facts": facts}
    return stored, report.model_copy(update={**update, "bytes_after": stored.nbytes, "changed": value.size})


def integers(value: Array, storage: StoredDtype) -> Integers:
    """Quantize finite float32 numbers of at least two dimensions."""
    axis, (_, top) = channel_axis(value.shape), weights.LIMITS[storage]
    others = tuple(index for index in range(value.ndim) if index != axis)
    largest = np.maximum(value.max(axis=others), -value.min(axis=others)).astype(np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.float32(top) / largest
    scale[~np.isfinite(scale)] = 1  # channels of zeros, or of numbers that are as good as zero
    by_channel = [-1 if index == axis else 1 for index in range(value.ndim)]
    rounded = value * scale.reshape(by_channel)
    np.rint(rounded, out=rounded)
    return Integers(
        values=np.clip(rounded, -top, top).astype(np.int8),
        scale=scale,
        zero_point=np.zeros(scale.size, np.int32),
        axis=axis,
        limits=weights.LIMITS[storage],
    )


def channel_axis(shape: tuple[int, ...]) -> int:
    """Return the axis whose channels have a scale each."""
    return len(shape) - (2 if len(shape) > 2 and shape[-1] == 1 else 1)


def _why_not(settings: StoredSettings, role: Role, value: Array) -> str | None:
    """Return why a weight stays as it is; None: it does not."""
    changed = EDITABLE if settings.integers else (*EDITABLE, Role.BIAS)
    if role not in changed:
        return _STAYS[role]
    if value.dtype != np.float32:
        return f"{value.dtype.name} is not quantized"
    return _why_no_integers(settings.storage, value) if settings.integers else None


def _why_no_integers(storage: StoredDtype, value: Array) -> str | None:
    if value.size < _FEW:
        return f"fewer than {_FEW:,} elements stay float32"
    channels = value.shape[channel_axis(value.shape)]
    if 2 * (4 * channels + value.size // (2 if storage == "int4" else 1)) > value.nbytes:
        return "stays float32: its scales would take what its integers save"
    if not np.isfinite(value).all():
        return "stays float32: it holds numbers that are not finite"
    return None


def _half(name: str, value: Array, storage: StoredDtype) -> tuple[StoredTensor, dict[str, float]]:
    limit = float(ml_dtypes.finfo(storage).max)  # type: ignore[no-untyped-call]
    beyond = int((np.abs(value) > limit).sum())
    stored = weights.plain(name, np.clip(value, -limit, limit).astype(np.dtype(storage)))
    return stored, {BEYOND_FLOAT16: beyond} if beyond and storage == "float16" else {}


def _stored(name: str, found: Integers, storage: StoredDtype) -> StoredTensor:
    return StoredTensor(
        name=name,
        storage="int4" if storage == "int4" else "int8",
        shape=found.values.shape,
        data=int4.pack(found.values) if storage == "int4" else found.values,
        scale=found.scale,
        bias=np.zeros(1, np.int32),  # one for all channels
        axis=found.axis,
    )
