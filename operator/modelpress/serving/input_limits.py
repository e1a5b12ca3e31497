"""How long inputs may be where the model leaves sizes open beside the batch. Pure functions.

A full batch of the greatest inputs fits into the memory that a batch may take (`api.batch_memory`), by what
compression measured for one row. Sizes that the model is known to be used with are taken in any case.
"""

from collections.abc import Sequence
from dataclasses import replace

from modelpress.api import batch_memory
from modelpress.artifacts.manifest import InputSizes, RowMemory, Shapes
from modelpress.serving.signature import Signature, Tensor


def greatest(stated: InputSizes, max_batch_size: int) -> Shapes:
    """Return the greatest shapes of a row of each input, for batches of `max_batch_size` rows."""
    fitting = _fitting(stated.memory, batch_memory.of(max_batch_size) // max_batch_size)
    if fitting is None:
        return stated.known
    return tuple(tuple(map(max, shape, known)) for shape, known in zip(fitting, stated.known, strict=True))


def limited(signature: Signature, shapes: Shapes | None, max_input_length: int | None) -> Signature:
    """Return the signature with limits: these shapes of a row, and a length that no free size exceeds."""
    if shapes is None and max_input_length is None:
        return signature
    rows: Sequence[tuple[int, ...] | None] = shapes or [None] * len(signature.inputs)
    inputs = (
        _limited(tensor, row, max_input_length) for tensor, row in zip(signature.inputs, rows, strict=True)
    )
    return replace(signature, inputs=tuple(inputs))


def _limited(tensor: Tensor, row: tuple[int, ...] | None, length: int | None) -> Tensor:
    sizes = tensor.shape[1:]
    if -1 not in sizes:
        return tensor
    most = []
    for axis, size in enumerate(sizes):
        limits = [limit for limit in (row[axis] if row else None, length) if limit is not None]
        most.append(min(limits) if size < 0 else size)
    return replace(tensor, most=(tensor.shape[0], *most))


def _fitting(steps: Sequence[RowMemory], most: int) -> Shapes | None:
    """Return the greatest shapes of a row that takes at most `most` bytes; None where nothing was measured.

    Between two steps memory grows with a power of the size, of 1 or more: less than along a straight line.
    """
    fits = [index for index, step in enumerate(steps) if step.bytes <= most]
    if not fits:
        return None
    below, *above = steps[fits[-1] : fits[-1] + 2]
    if not above:
        return below.shapes
    share = (most - below.bytes) / (above[0].bytes - below.bytes)
    return tuple(
        tuple(low + int(share * (high - low)) for low, high in zip(small, large, strict=True))
        for small, large in zip(below.shapes, above[0].shapes, strict=True)
    )
