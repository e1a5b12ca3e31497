"""What has ruined a model and is seen without data: in its weights, its training, on a sample."""

from collections.abc import Iterator, Sequence

import numpy as np

from modelpress.compression.evaluation import metrics
from modelpress.compression.report.document import PassReport
from modelpress.models.types import EDITABLE, Array, Arrays, Role, Weight, invalid


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


def _varies(outputs: Array) -> bool:
    return bool(metrics.varying(outputs.reshape(len(outputs), 1, -1)).any())
