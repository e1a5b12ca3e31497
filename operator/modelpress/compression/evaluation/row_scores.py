"""One metric of one output, row by row."""

from dataclasses import dataclass

from modelpress.api.spec import Metric
from modelpress.compression.evaluation import intervals, metrics
from modelpress.compression.evaluation.dataset import invalid
from modelpress.compression.evaluation.intervals import Interval, Rows
from modelpress.models.types import Array

NEEDS_LABELS = (Metric.ACCURACY, Metric.R2)
_DECISIONS = (Metric.ACCURACY, Metric.AGREEMENT)


@dataclass(frozen=True)
class RowScores:
    """A score in percent, and a number for each row: their mean is the score, their spread its error.

    `rows` is None where the outputs are no numbers, or the score is at its lower bound.
    """

    metric: Metric
    score: float
    rows: Rows | None

    @property
    def interval(self) -> Interval | None:
        """The interval of the score."""
        if self.rows is None:
            return None
        return (
            intervals.of_decisions(self.rows) if self.metric in _DECISIONS else intervals.of_mean(self.rows)
        )


def of(metric: Metric, labels: Array | None, original: Array, found: Array) -> RowScores:
    """Return the scores of the outputs `found`, of shape (N, ...), as `original`; labels as the metric needs.

    Outputs that are no numbers have the lowest score. Raises ValueError where the labels do not fit.
    """
    if metrics.rows_without_numbers(found):
        return RowScores(metric, metrics.LOWEST, None)
    rows = _rows(metric, labels, original, found)
    score = float(rows.mean())
    return (
        RowScores(metric, score, rows) if score >= metrics.LOWEST else RowScores(metric, metrics.LOWEST, None)
    )


def named(metric: Metric, name: str, labels: Array | None, original: Array, found: Array) -> RowScores:
    """Return the scores of output `name`; raises InvalidData where its labels do not fit."""
    try:
        return of(metric, labels, original, found)
    except ValueError as error:
        raise invalid(f"data.evaluation, output {name}: {error}") from error


def drop_interval(before: RowScores, after: RowScores) -> Interval | None:
    """Return the interval of before - after, paired by row.

    The original agrees with itself by definition: there the loss is as uncertain as the score alone.
    """
    if before.rows is None or after.rows is None:
        return None
    if after.metric is Metric.ACCURACY:
        return intervals.of_decisions_drop(before.rows, after.rows)
    if after.metric is Metric.R2:
        return intervals.of_mean_drop(before.rows, after.rows)
    alone = after.interval
    return Interval(100 - alone.high, 100 - alone.low, alone.method) if alone else None


def _rows(metric: Metric, labels: Array | None, original: Array, found: Array) -> Rows:
    if metric is Metric.COSINE_SIMILARITY:
        return metrics.cosine_similarity(original, found)
    if metric is Metric.AGREEMENT:
        return metrics.agreement(metrics.decisions(original), metrics.decisions(found))
    if labels is None:
        raise ValueError("there are no labels")
    if metric is Metric.R2:
        return metrics.r2_rows(labels, found)
    return metrics.agreement(metrics.label_decisions(labels, found.shape), metrics.decisions(found))
