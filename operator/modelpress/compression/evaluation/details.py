"""What a report tells beside the gate's score: all other metrics that the data allows, the confusion matrix,
and whether the data is large enough to tell the score from the limits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modelpress.api.spec import Evaluation, Metric
from modelpress.api.values import parse_percent
from modelpress.compression.evaluation import evaluation, metrics, row_scores
from modelpress.compression.report.document import (
    Bounds,
    Confusion,
    EvaluationReport,
    LimitsReport,
    MetricScores,
    NotMeasured,
)
from modelpress.models.types import Array, Arrays

MAX_CLASSES = 20  # classes of a confusion matrix; the rest are one class, `other`
_MAX_OUTPUTS = 8  # outputs that get a confusion matrix
_MANY_ROWS = 10**9


@dataclass(frozen=True)
class Outputs:
    """Labels and outputs by output name, all with the same rows."""

    labels: Arrays
    original: Arrays
    compressed: Arrays


def complete(report: EvaluationReport, limits: Evaluation, outputs: Outputs) -> EvaluationReport:
    """Return the report with all that the data allows beside the gate's metric."""
    others, refused = [], []
    for metric in Metric:
        if metric is report.metric:
            continue
        found = _other(metric, outputs)
        if isinstance(found, NotMeasured):
            refused.append(found)
        else:
            others.append(found)
    return report.model_copy(
        update={
            "limits": LimitsReport(
                min_score=limits.min_score, max_drop=limits.max_drop, max_size=limits.max_size
            ),
            "others": tuple(others),
            "not_measured": tuple(refused),
            "confusion": tuple(_confusions(outputs)),
        }
    )


def unresolved(report: EvaluationReport) -> list[str]:
    """Return a line for each limit that lies within the 95 % interval of what it limits."""
    limits = report.limits or LimitsReport()
    lines = []
    if limits.max_drop is not None and report.drop_interval is not None:
        what = f"maxDrop {limits.max_drop}: the drop of {report.metric.value} is {report.drop:.2f} points"
        limit = float(parse_percent(limits.max_drop))
        lines.append(_unresolved(what, limit, (report.drop, report.drop_interval), report.rows))
    if limits.min_score is not None and report.compressed_interval is not None:
        what = f"minScore {limits.min_score}: {report.metric.value} is {report.compressed:.2f}%"
        limit = float(parse_percent(limits.min_score))
        lines.append(_unresolved(what, limit, (report.compressed, report.compressed_interval), report.rows))
    return [line for line in lines if line]


def rows_to_tell(value: float, bounds: Bounds, limit: float, rows: int) -> int | None:
    """Return how many rows would put `limit` outside of the interval, which narrows with their root.

    None where no number would: the value is the limit.
    """
    half = (bounds[1] - bounds[0]) / 2
    distance = abs(value - limit)
    if distance == 0 or (needed := rows * (half / distance) ** 2) > _MANY_ROWS:
        return None
    return _two_digits(math.ceil(max(needed, rows + 1)))


def confusion(labels: Array, original: Array, compressed: Array, name: str = "") -> Confusion:
    """Return the confusion matrices of two arrays of outputs (N, ..., classes), with labels as for Accuracy.

    At most `MAX_CLASSES` classes, those with most labels, in the order of their numbers; all further ones
    are counted as `other`. Raises ValueError where the labels do not fit.
    """
    expected = metrics.label_decisions(labels, original.shape).ravel()
    found = [metrics.decisions(outputs).ravel() for outputs in (original, compressed)]
    classes = original.shape[-1] if original.ndim > 1 and original.shape[-1] > 1 else 2
    kept, names = np.arange(classes), [str(number) for number in range(classes)]
    if classes > MAX_CLASSES:
        counts = np.bincount(expected, minlength=classes)
        kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_CLASSES])
        names = [*(str(number) for number in kept), "other"]
    index = np.full(classes, len(names) - 1)
    index[kept] = np.arange(len(kept))
    before, after = (_counts(index[expected], index[decided], len(names)) for decided in found)
    return Confusion(output=name, classes=tuple(names), original=before, compressed=after)


def _other(metric: Metric, outputs: Outputs) -> MetricScores | NotMeasured:
    try:
        for name, original in outputs.original.items():
            if metric is Metric.ACCURACY and name in outputs.labels:
                _check_classes(outputs.labels[name], original)
        pairs = [
            {
                name: row_scores.of(metric, outputs.labels.get(name), original, found[name])
                for name, original in outputs.original.items()
            }
            for found in (outputs.original, outputs.compressed)
        ]
    except ValueError as error:
        return NotMeasured(metric=metric, reason=str(error))
    return evaluation.metric_scores(metric, pairs[0], pairs[1])


def _check_classes(labels: Array, outputs: Array) -> None:
    """Refuse labels that have a number for each class and are not one-hot: those of a regression."""
    several = outputs.ndim > 1 and outputs.shape[-1] > 1
    if several and labels.shape == outputs.shape and not _is_one_hot(labels):
        raise ValueError("the labels are numbers, neither classes nor one-hot")


def _is_one_hot(labels: Array) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=-1) == 1).all())


def _confusions(outputs: Outputs) -> Iterator[Confusion]:
    for name, original in list(outputs.original.items())[:_MAX_OUTPUTS]:
        labels, compressed = outputs.labels.get(name), outputs.compressed[name]
        if labels is None or metrics.rows_without_numbers(compressed):
            continue
        try:
            _check_classes(labels, original)
            yield confusion(labels, original, compressed, name)
        except ValueError:  # Accuracy says why in not_measured
            continue


def _counts(expected: Array, decided: Array, classes: int) -> tuple[tuple[int, ...], ...]:
    flat = np.bincount(expected * classes + decided, minlength=classes * classes)
    return tuple(tuple(int(count) for count in row) for row in flat.reshape(classes, classes))


def _unresolved(what: str, limit: float, measured: tuple[float, Bounds], rows: int) -> str | None:
    value, (low, high) = measured
    if not low < limit < high:
        return None
    needed = rows_to_tell(value, (low, high), limit, rows)
    more = f"about {needed:,} rows would" if needed else "no number of rows may"
    return (
        f"{what}, 95 % interval {low:.2f} to {high:.2f}: {rows:,} rows cannot tell it from the limit; {more}"
    )


def _two_digits(number: int) -> int:
    """Round up to two significant digits: an estimate must not look exact."""
    step: int = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / step) * step
