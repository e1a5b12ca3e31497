"""Quantization to a .tflite file, and its report: which tensors became smaller, by which formula, which not
and why.

The converter does the work (`conversion_server`). The report compares the constants of the quantized file
with those of the float32 file that was converted from the same graph.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from modelpress.api.schemes import Scheme
from modelpress.compression import schemes
from modelpress.compression.formats import formula
from modelpress.compression.formats.litert.tflite_file import Constant, TfliteFile
from modelpress.compression.report.document import ActivationReport, FormulaReport, PassReport, TensorReport
from modelpress.models.types import Array, Weight

BEYOND_FLOAT16 = "beyondFloat16"  # a fact: elements that float16 cannot hold
NAME = "quantization"
UNMATCHED = "made by the converter"
NOTE = "Shapes are those of the serving format, in which a kernel's output channels come first."
_LARGEST = 65504.0  # the largest number in float16
_BLOCK = 2**20  # elements that are compared at once: copies of a whole tensor can be copies of the model


@dataclass(frozen=True)
class Pair:
    """A file before and after quantization.

    `moved`: weights are stored as other numbers than the nearest ones, and found again by their names.
    """

    float32: TfliteFile
    quantized: TfliteFile
    moved: bool = False


def report(scheme: Scheme, files: Pair, weights: Mapping[str, Weight]) -> PassReport:
    """Return what quantization did to each float constant of the converted model.

    `weights` are those behind the constants of the float32 file, see `weights_of`.

    An integer constant that none of them became is listed as well, such as the second copy of a tensor that
    two operators use; one that equals none of them could not be compared.
    """
    quantized = files.quantized
    after = {constant.name: constant for constant in quantized.constants}
    before = [constant for constant in files.float32.constants if constant.dtype == "float32"]
    pairs = [(constant, _counterpart(constant, after, moved=files.moved)) for constant in before]
    matched = {id(found) for _, found in pairs}
    return PassReport(
        name=NAME,
        parameters={"scheme": scheme.value},
        note=NOTE,
        tensors=(
            *(_tensor(scheme, constant, found, weights.get(constant.name)) for constant, found in pairs),
            *(
                _added(item, before)
                for item in quantized.constants
                if item.scale.size and id(item) not in matched
            ),
        ),
        activations=tuple(
            ActivationReport(name=item.name, scale=1 / item.scale, bias=item.zero_point)
            for item in quantized.activations
            if item.scale > 0
        ),
    )


def weights_of(constants: Sequence[Constant], weights: Sequence[Weight]) -> dict[str, Weight]:
    """Return the weight behind each constant: equal values, up to the axes that the converter swaps.

    It reads and hashes all weights: once for a float32 file.
    """
    by_content = {_digest(values): weight for weight in weights for values in _arrangements(weight.read())}
    found = ((constant.name, by_content.get(_digest(constant.values))) for constant in constants)
    return {name: weight for name, weight in found if weight is not None}


def _added(constant: Constant, before: Sequence[Constant]) -> TensorReport:
    base = TensorReport(
        name=constant.name,
        shape=constant.values.shape,
        elements=constant.values.size,
        bytes_after=constant.stored_bytes,
    )
    same = (item.values for item in before if item.values.shape == constant.values.shape)
    origin = next((values for values in same if _close(constant, values)), None)
    if origin is None:
        return base.model_copy(
            update={"skipped": f"{UNMATCHED}: no tensor of the float32 format has these values"}
        )
    found = FormulaReport(**asdict(formula.check(constant, origin)))
    return base.model_copy(update={"changed": constant.values.size, "formula": found})


def _counterpart(constant: Constant, after: Mapping[str, Constant], *, moved: bool) -> Constant | None:
    """Return the same tensor in the quantized file.

    Nameless constants are numbered anew in each file: one of equal value is the same.
    """
    same = after.get(constant.name)
    if (
        same is not None
        and same.values.shape == constant.values.shape
        and ((moved and same.scale.size) or _close(same, constant.values))
    ):
        return same
    candidates = (other for other in after.values() if other.values.shape == constant.values.shape)
    return next((other for other in candidates if _close(other, constant.values)), None)


def _close(found: Constant, values: Array) -> bool:
    """Whether `found` can be `values`, stored with less precision."""
    if found.dtype in ("float32", "float16"):
        limit, tolerance = (_LARGEST, 1e-3) if found.dtype == "float16" else (np.inf, 0.0)
        return all(
            # the converter cuts what float16 cannot hold
            np.allclose(one.astype(np.float32), np.clip(other, -limit, limit), tolerance, tolerance, True)
            for one, other in zip(_blocks(found.values), _blocks(values), strict=True)
        )
    return found.scale.size > 0 and formula.check(found, values).largest_error < 2


def _tensor(scheme: Scheme, before: Constant, after: Constant | None, weight: Weight | None) -> TensorReport:
    values = before.values
    base = TensorReport(
        name=weight.name if weight else before.name,
        role=weight.role.value if weight else None,
        shape=values.shape,
        elements=values.size,
        bytes_before=values.nbytes,
    )
    if after is None:
        return base.model_copy(update={"skipped": "merged into another tensor by the converter"})
    update: dict[str, object] = {"bytes_after": after.stored_bytes, "served_as": after.name}
    if after.dtype == "float32":
        update["skipped"] = _why(scheme, values)
    else:
        update["changed"] = values.size
    if after.dtype == "float16" and (
        cut := sum(int((np.abs(block) > _LARGEST).sum()) for block in _blocks(values))
    ):
        update["facts"] = {BEYOND_FLOAT16: cut}
    if after.scale.size:
        update["formula"] = FormulaReport(**asdict(formula.check(after, values)))
    return base.model_copy(update=update)


def _why(scheme: Scheme, values: Array) -> str:
    if values.ndim < 2:
        return "biases and vectors stay float32"
    if values.size < (smallest := schemes.litert(scheme).smallest):
        return f"fewer than {smallest:,} elements stay float32"
    return "its operator computes in float32"


def _digest(values: Array) -> bytes:
    """Return a hash of the elements in their order, whatever the shape."""
    digest = hashlib.blake2b()
    for block in _blocks(values):
        digest.update(np.ascontiguousarray(block).data)
    return digest.digest()


def _arrangements(values: Array) -> Iterator[Array]:
    """Yield views; a copy of each would double the memory of a model with one large tensor."""
    yield values  # embeddings, depthwise kernels, vectors
    if values.ndim >= 2 and values.size:
        yield np.moveaxis(values, -1, 0)  # Dense (in, out) -> (out, in), Conv HWIO -> OHWI
        yield values.reshape(values.shape[0], -1).T  # Einsum kernels with several output axes


def _blocks(values: Array) -> Iterator[Array]:
    """Yield the rows of a tensor in blocks of about a million elements."""
    if values.ndim == 0 or values.size <= _BLOCK:
        yield values
        return
    rows = max(1, _BLOCK * len(values) // values.size)
    for start in range(0, len(values), rows):
        yield values[start : start + rows]
