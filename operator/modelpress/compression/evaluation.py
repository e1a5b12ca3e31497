"""Predictions and scores of a model on a data set. Outputs go to memory-mapped files, batch by batch.

Must not import TensorFlow: a model is anything with inputs, outputs and a call.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from modelpress.api.spec import Metric
from modelpress.compression import metrics
from modelpress.compression.dataset import Dataset, invalid
from modelpress.compression.report import EvaluationReport, OutputScore
from modelpress.logs import progress
from modelpress.models.types import Array, Arrays, TensorSpec
from modelpress.models.types import invalid as invalid_model

NEEDS_LABELS = (Metric.ACCURACY, Metric.R2)
_log = logging.getLogger(__name__)
_BATCH_BYTES = 64 * 2**20
_MAX_BATCH = 256


class Model(Protocol):
    """Anything that predicts."""

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute one batch."""
        ...


def batch_size(inputs: Sequence[TensorSpec], data: Dataset) -> int:
    """Return the rows of a batch: the model's own number where it is fixed, else what fits into 64 MiB."""
    if (fixed := max(spec.shape[0] for spec in inputs)) > 0:
        return fixed
    row = sum(data.inputs[spec.name][:1].size * np.dtype(spec.dtype).itemsize for spec in inputs)
    return max(1, min(_MAX_BATCH, _BATCH_BYTES // max(row, 1), data.rows))


def predict(model: Model, data: Dataset, folder: Path, *, batch: int, step: str) -> dict[str, Array]:
    """Return the outputs for all rows; the files are in the folder `folder`. The last batch is filled up.

    Raises InvalidData where an output does not have a row for each row of the input.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Array] = {}
    for start in range(0, data.rows, batch):
        count = min(batch, data.rows - start)
        inputs = data.batch(start, start + count)
        filled = {name: _fill(array, batch) for name, array in inputs.items()}
        for number, (name, output) in enumerate(model.call(filled).items()):
            if len(output) != batch:
                raise invalid(
                    f"output {name} has {len(output)} rows for a batch of {batch}: rows are not independent"
                )
            if name not in results:
                shape = (data.rows, *output.shape[1:])
                path = folder / f"{number}.npy"
                results[name] = np.lib.format.open_memmap(path, mode="w+", dtype=output.dtype, shape=shape)
            if output.shape[1:] != results[name].shape[1:]:
                raise invalid(f"output {name} changes its shape from batch to batch; it cannot be scored")
            results[name][start : start + count] = output[:count]
        progress(_log, step, start + count, data.rows)
    return results


def score(
    metric: Metric,
    labels: Mapping[str, Array],
    original: Mapping[str, Array],
    compressed: Mapping[str, Array],
) -> EvaluationReport:
    """Score the outputs of the original and of the compressed model; the worst output counts.

    The drop is that of the output that lost most: of two outputs one may lose what the other hides.
    Outputs that are no numbers: of the original InvalidModel is raised, of the compressed model the score
    is the lowest there is. Labels that do not fit raise InvalidData.
    """
    for name, output in original.items():
        if broken := metrics.rows_without_numbers(output):
            raise invalid_model(
                f"the original model's output {name} is NaN or infinite for {broken} of {len(output)} rows"
                " of data.evaluation"
            )
    scored = {name: _output(metric, name, labels, original, compressed) for name in original}
    outputs = tuple(item[0] for item in scored.values())
    fallen, interval = max(scored.values(), key=lambda item: item[0].original - item[0].compressed)
    lost = {name: metrics.rows_without_numbers(output) for name, output in compressed.items()}
    reason = ", ".join(f"output {name} is NaN or infinite for {n} rows" for name, n in lost.items() if n)
    return EvaluationReport(
        metric=metric,
        rows=len(next(iter(original.values()))),
        original=min(output.original for output in outputs),
        compressed=min(output.compressed for output in outputs),
        drop=fallen.original - fallen.compressed,
        drop_interval=(interval.low, interval.high) if interval else None,
        outputs=outputs,
        invalid=reason or None,
    )


def _output(
    metric: Metric,
    name: str,
    labels: Mapping[str, Array],
    original: Mapping[str, Array],
    compressed: Mapping[str, Array],
) -> tuple[OutputScore, metrics.Interval | None]:
    before, after = original[name], compressed[name]
    if metrics.rows_without_numbers(after):
        baseline = _baseline(metric, name, labels, before)
        return OutputScore(name=name, original=baseline, compressed=metrics.LOWEST), None
    if metric is Metric.R2:
        wanted = labels[name]
        return OutputScore(
            name=name, original=_r2(name, wanted, before), compressed=_r2(name, wanted, after)
        ), None
    rows_before = _rows(metric, name, labels, before, before)
    rows_after = _rows(metric, name, labels, before, after)
    result = OutputScore(name=name, original=float(rows_before.mean()), compressed=float(rows_after.mean()))
    return result, metrics.drop_interval(rows_before, rows_after)


def _baseline(metric: Metric, name: str, labels: Mapping[str, Array], original: Array) -> float:
    if metric is Metric.R2:
        return _r2(name, labels[name], original)
    return float(_rows(metric, name, labels, original, original).mean())


def _rows(
    metric: Metric, name: str, labels: Mapping[str, Array], original: Array, found: Array
) -> metrics.Rows:
    if metric is Metric.COSINE_SIMILARITY:
        return metrics.cosine_similarity(original, found)
    if metric is Metric.AGREEMENT:
        return metrics.agreement(metrics.decisions(original), metrics.decisions(found))
    try:
        wanted = metrics.label_decisions(labels[name], found.shape)
    except ValueError as error:
        raise invalid(f"data.evaluation, output {name}: {error}") from error
    return metrics.agreement(wanted, metrics.decisions(found))


def _r2(name: str, labels: Array, outputs: Array) -> float:
    try:
        return metrics.r2(labels, outputs)
    except ValueError as error:
        raise invalid(f"data.evaluation, output {name}: {error}") from error


def _fill(array: Array, rows: int) -> Array:
    """Repeat the last row up to `rows`."""
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
