"""Bytes of each layer before and after compression, from what the passes report. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from modelpress.compression.report.document import LayerSize, PassReport, WeightReport

CONSTANTS = "(constants)"  # constants of the original's graph, or made by the converter
STRUCTURE = "(file structure)"  # operators, names, scales: what no tensor accounts for
_NUMBERED = re.compile(r".*_(\d+)")
_SEPARATORS = re.compile(r"[/;:]")


def of(
    weights: Sequence[WeightReport], served: Iterable[tuple[str, int]], original: int, compressed: int
) -> tuple[LayerSize, ...]:
    """Return the layers in the model's order; both columns add up to `original` and `compressed` bytes.

    `weights` are those of the original, `served` the names and bytes of the tensors of the serving format. A
    tensor whose name is none of the weights' belongs to the layer that its name contains.
    """
    layers = {weight.name: layer_of(weight.name) for weight in weights}
    before: Counter[str] = Counter()
    for weight in weights:
        before[layers[weight.name]] += weight.bytes
    after: Counter[str] = Counter()
    for name, size in served:
        after[layers.get(name) or _containing(name, before) or CONSTANTS] += size
    before[CONSTANTS] += max(0, original - before.total())
    after[STRUCTURE] += max(0, compressed - after.total())
    names = dict.fromkeys((*(layers[weight.name] for weight in weights), CONSTANTS, STRUCTURE))
    return tuple(
        LayerSize(name=name, before=before[name], after=after[name])
        for name in names
        if before[name] or after[name]
    )


def served_tensors(weights: Iterable[WeightReport], quantization: PassReport | None) -> list[tuple[str, int]]:
    """Return names and bytes of the serving format's tensors; those of the weights without quantization."""
    if quantization is None:
        return [(weight.name, weight.bytes) for weight in weights]
    return [(tensor.name, tensor.bytes_after) for tensor in quantization.tensors if tensor.bytes_after]


def layer_of(name: str) -> str:
    """Return the layer of a weight's name: `block/dense` of `block/dense/kernel`.

    Subclassed models have no names of layers, only numbers: `net[1]` of `net/kernel_1` and `net/bias_1`.
    """
    path, _, last = name.rpartition("/")
    numbered = _NUMBERED.fullmatch(last)
    return f"{path}[{numbered[1]}]" if path and numbered else path or name


def _containing(name: str, layers: Iterable[str]) -> str | None:
    parts = f"/{'/'.join(_SEPARATORS.split(name))}/"
    return max((layer for layer in layers if f"/{layer}/" in parts), key=len, default=None)
