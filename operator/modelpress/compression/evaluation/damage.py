"""What has ruined a model and is seen without data: in its weights, its training, on a sample."""

from collections.abc import Iterator, Sequence

import numpy as np

from modelpress.compression.evaluation import metrics
from modelpress.compression.report.document import PassReport
from modelpress.models.types import EDITABLE, Array, Arrays, Role, Weight, invalid

LEAST_KEPT = 0.5  # of an output's variation; a form that is of use has nearly all
NEAR = 0.25  # of an output's norm: int4 weights of deep networks err by half of it on random rows


def check_weights(weights: Sequence[Weight]) -> None:
    """Refuse weights that are no numbers (InvalidModel): those of a training that diverged.

    Other variables than those of layers may hold an infinity: masks do.
    """
    for weight in weights:
        if weight.role is Role.OTHER:
            continue
        wrong = ~np.isfinite(weight.read())
        if wrong.any():
            raise invalid(
                f"{weight.role.value} {weight.name} is NaN or infinite in {int(wrong.sum()):,} of"
                f" {wrong.size:,} elements: did its training diverge?"
            )


def of_passes(passes: Sequence[PassReport], weights: Sequence[Weight]) -> Iterator[str]:
    """Return a line for each kernel that the passes left nothing of, and for a loss that rose."""
    changed = {tensor.name for step in passes for tensor in step.tensors if tensor.changed}
    for weight in weights:
        if weight.role in EDITABLE and weight.name in changed and not weight.read().any():
            yield f"{weight.role.value} {weight.name}: all its elements became zero"
    for step in passes:
        if step.name == "fineTuning" and step.training and len(step.training.epochs) > 1:
            first, last = step.training.epochs[0].loss, step.training.epochs[-1].loss
            if last > first:
                yield (
                    f"fineTuning: the loss rose from {first:.4g} to {last:.4g}; choose a smaller learningRate"
                )


def of_outputs(original: Arrays, served: Arrays) -> Iterator[str]:
    """Return a line for each output (rows, ...) that became the same for all rows of a sample."""
    for name, before in original.items():
        if _varies(before) and not _varies(served[name]):
            yield (
                f"output {name} of the compressed model is the same for all {len(before)} rows of the sample;"
                " that of the original is not"
            )


def of_distance(original: Arrays, served: Arrays) -> Iterator[str]:
    """Return a line for each output (rows, ...) that has little to do with the original's on random rows.

    What is kept is 1 - E/S, where E sums the squared errors and S the squared distances of the original's
    outputs from their means over the rows. On random rows the outputs of many sound networks hardly vary:
    what is near in norm is not told. Class ids and masks are compared for equality.
    """
    for name, before in original.items():
        kept = _kept(before, served[name])
        if kept is not None and kept < LEAST_KEPT:
            yield (
                f"output {name} of the compressed model keeps {max(0.0, kept):.0%} of the variation of the"
                f" original's over {len(before)} random rows: set evaluation to see its score on real ones"
            )


def _kept(before: Array, after: Array) -> float | None:
    """Return how much of an output is the same, at most 1; None where there is nothing to tell it by."""
    if before.dtype.kind != "f":
        return float((before == after).mean()) if _varies(before) else None
    expected, found = before.astype(np.float64), after.astype(np.float64)
    error, spread = ((expected - found) ** 2).sum(), ((expected - expected.mean(axis=0)) ** 2).sum()
    is_near = error <= NEAR**2 * (expected**2).sum()
    return float(1 - error / spread) if _varies(before) and not is_near else None


def _varies(outputs: Array) -> bool:
    return bool(metrics.varying(outputs.reshape(len(outputs), 1, -1)).any())
