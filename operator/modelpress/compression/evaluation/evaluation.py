"""Predictions and scores of a model on a data set. Outputs go to memory-mapped files, batch by batch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from modelpress.api.evaluation import Metric
from modelpress.compression.evaluation import metrics, row_scores
from modelpress.compression.evaluation.dataset import Dataset, invalid
from modelpress.compression.evaluation.intervals import Interval
from modelpress.compression.evaluation.row_scores import OutputCase, RowScores
from modelpress.compression.evaluation.rules import NEEDS_LABELS, Rule
from modelpress.compression.report.document import EvaluationReport, MetricScores, OutputScore
from modelpress.logs import progress
from modelpress.models.types import Array, Arrays, ComputationError, TensorSpec
from modelpress.models.types import invalid as invalid_model

_log = logging.getLogger(__name__)
_BATCH_BYTES = 64 * 2**20
_MAX_BATCH = 256


class CallableModel(Protocol):
    """Anything that predicts."""

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute one batch."""
        ...


@dataclass(frozen=True)
class Reference:
    """A data set with the outputs of the original, for comparisons."""

    data: Dataset
    outputs: Mapping[str, Array]
    batch: int

    def compare(
        self, rules: Mapping[str, Rule], model: CallableModel, folder: Path, step: str
    ) -> "Comparison":
        """Score another model on the same rows; its outputs are in the folder `folder`."""
        found = predict(model, self.data, folder, batch=self.batch, step=step)
        return Comparison(score(rules, self.data.labels, self.outputs, found), found)


@dataclass(frozen=True)
class Comparison:
    """Scores of a model, and the outputs that they are of."""

    scores: EvaluationReport
    outputs: Mapping[str, Array]


def reference(model: CallableModel, inputs: Sequence[TensorSpec], data: Dataset, folder: Path) -> Reference:
    """Compute the outputs of the original; they are in the folder `folder`.

    Raises InvalidModel where they are no numbers.
    """
    batch = batch_size(inputs, data)
    outputs = predict(model, data, folder, batch=batch, step="evaluate the original")
    _check_numbers(outputs)
    return Reference(data, outputs, batch)


def batch_size(inputs: Sequence[TensorSpec], data: Dataset) -> int:
    """Return the rows of a batch: the model's own number where it is fixed, else what fits into 64 MiB."""
    if (fixed := max(spec.shape[0] for spec in inputs)) > 0:
        return fixed
    row = sum(data.inputs[spec.name][:1].size * np.dtype(spec.dtype).itemsize for spec in inputs)
    return max(1, min(_MAX_BATCH, _BATCH_BYTES // max(row, 1), data.rows))


def predict(model: CallableModel, data: Dataset, folder: Path, *, batch: int, step: str) -> dict[str, Array]:
    """Return the outputs for all rows; the files are in the folder `folder`. The last batch is filled up.

    Raises InvalidData where an output does not have a row for each row of the input, and where the model does
    not compute a row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Array] = {}
    for start in range(0, data.rows, batch):
        count = min(batch, data.rows - start)
        outputs = _called(model, data, start, batch)
        for number, (name, output) in enumerate(outputs.items()):
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
    rules: Mapping[str, Rule],
    labels: Mapping[str, Array],
    original: Mapping[str, Array],
    compressed: Mapping[str, Array],
) -> EvaluationReport:
    """Score the outputs of the original and of the compressed model by their rules; the worst output counts.

    The drop is that of the output that lost most: of two outputs one may lose what the other hides.
    Outputs of the compressed model that are no numbers have the lowest score there is. Labels that do not
    fit, and an original whose score has no lower bound any more, raise InvalidData.
    """
    lost = {name: metrics.rows_without_numbers(output) for name, output in compressed.items()}
    reason = ", ".join(f"output {name} is NaN or infinite for {n} rows" for name, n in lost.items() if n)
    cases = {name: OutputCase(rules[name], labels.get(name), original[name]) for name in original}
    before = {name: row_scores.named(case, name, case.original) for name, case in cases.items()}
    for name, found in before.items():
        if found.rows is None:
            raise invalid(
                f"data.evaluation, output {name}: {found.metric.value} of the original is below"
                f" {metrics.LOWEST:g} %: the labels are not what the output predicts"
            )
    after = {name: row_scores.named(case, name, compressed[name]) for name, case in cases.items()}
    scores = metric_scores(before, after)
    return EvaluationReport(**dict(scores), rows=len(next(iter(original.values()))), invalid=reason or None)


def _check_numbers(original: Mapping[str, Array]) -> None:
    """Raise InvalidModel where outputs of the original are no numbers."""
    for name, output in original.items():
        if broken := metrics.rows_without_numbers(output):
            raise invalid_model(
                f"the original model's output {name} is NaN or infinite for {broken} of {len(output)} rows"
                " of data.evaluation"
            )


def metric_scores(before: Mapping[str, RowScores], after: Mapping[str, RowScores]) -> MetricScores:
    """Return the scores of a model from those of each output.

    The score is that of the worst output; the drop is that of the output that lost most.
    """
    first = min(before.values(), key=lambda item: item.score)
    fallen = max(before, key=lambda name: before[name].score - after[name].score)
    worst = min(after, key=lambda name: (after[name].score, before[name].score))
    return MetricScores(
        metric=after[worst].metric,
        original=first.score,
        original_interval=_own_bounds(first),
        compressed=after[worst].score,
        compressed_interval=_bounds(after[worst].interval),
        drop=before[fallen].score - after[fallen].score,
        drop_interval=_bounds(drop := row_scores.drop_interval(before[fallen], after[fallen])),
        interval_method=_method(after[worst].interval, drop),
        outputs=tuple(_output_score(name, before[name], after[name]) for name in before),
    )


def _output_score(name: str, before: RowScores, after: RowScores) -> OutputScore:
    return OutputScore(
        name=name,
        metric=after.metric,
        original=before.score,
        compressed=after.score,
        compressed_interval=_bounds(after.interval),
        drop_interval=_bounds(row_scores.drop_interval(before, after)),
        note="; ".join(filter(None, (_worse_than_the_mean(before), after.note))) or None,
    )


def _worse_than_the_mean(original: RowScores) -> str | None:
    if original.metric is not Metric.R2 or original.score >= 0:
        return None
    return "the original meets the labels worse than their mean would: are they what the output predicts?"


def _own_bounds(original: RowScores) -> tuple[float, float] | None:
    """Return the interval of the original; it agrees with itself without doubt."""
    return _bounds(original.interval) if original.metric in NEEDS_LABELS else None


def _bounds(interval: Interval | None) -> tuple[float, float] | None:
    return interval.bounds if interval else None


def _method(score: Interval | None, drop: Interval | None) -> str | None:
    if score is None or drop is None:
        return None
    return score.method if score.method == drop.method else f"{score.method}; drop: {drop.method}"


def check_rows(model: CallableModel, data: Dataset, batch: int, first: int = 0) -> None:
    """Compute rows from `first` on and keep nothing. Raises InvalidData for one that is not computed."""
    for start in range(first, data.rows, batch):
        _called(model, data, start, batch)


def _called(model: CallableModel, data: Dataset, start: int, batch: int) -> Arrays:
    """Return the outputs of one batch from the row `start` on, filled up at the end."""
    inputs = data.batch(start, min(start + batch, data.rows))
    try:
        return model.call({name: _fill(array, batch) for name, array in inputs.items()})
    except ComputationError as error:
        row, why = _first_refused(model, inputs, batch, str(error))
        raise invalid(f"{data.row_name(start + row)}: the model does not compute it: {why}") from error


def _first_refused(model: CallableModel, inputs: Arrays, batch: int, why: str) -> tuple[int, str]:
    """Return the first row that the model does not compute alone, and why; else the first of all."""
    for row in range(len(next(iter(inputs.values())))):
        try:
            model.call({name: _fill(array[row : row + 1], batch) for name, array in inputs.items()})
        except ComputationError as error:
            return row, str(error)
    return 0, why


def _fill(array: Array, rows: int) -> Array:
    """Repeat the last row up to `rows`."""
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
