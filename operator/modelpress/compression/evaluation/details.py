"""What a report tells beside the gate's score: all other metrics that the data allows, the confusion matrix,
and whether the data is large enough to tell the score from the limits.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modelpress.api.evaluation import DECIDING, Evaluation, Metric
from modelpress.api.values import parse_decimal, parse_percent
from modelpress.compression.evaluation import decisions, evaluation, metrics, row_scores, rules
from modelpress.compression.evaluation.decisions import Reading
from modelpress.compression.evaluation.row_scores import OutputCase
from modelpress.compression.report.document import (
    Bounds,
    Confusion,
    EvaluationReport,
    LimitsReport,
    MetricScores,
    NotMeasured,
    OutputLimits,
    OutputScore,
)
from modelpress.models.types import Array, Arrays

MAX_CLASSES = 20  # classes of a confusion matrix; the rest are one class, `other`
_MAX_OUTPUTS = 8  # outputs that get a confusion matrix
_MANY_VALUES = 2 * 10**7  # of an output whose AUC is measured beside another metric: it sorts each column
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
    judged = {output.metric for output in report.outputs}
    for metric in Metric:
        if judged == {metric}:
            continue
        found = _other(metric, limits, outputs)
        if isinstance(found, NotMeasured):
            refused.append(found)
        else:
            others.append(found)
    return report.model_copy(
        update={
            "limits": LimitsReport(
                min_score=limits.min_score,
                max_drop=limits.max_drop,
                max_size=limits.max_size,
                outputs=tuple(_limits(limits, item.name) for item in limits.outputs or ()),
            ),
            "others": tuple(others),
            "not_measured": tuple(refused),
            "confusion": tuple(_confusions(limits, outputs)),
        }
    )


def _limits(limits: Evaluation, name: str) -> OutputLimits:
    own = limits.of_output(name)
    return OutputLimits(name=name, min_score=own.min_score, max_drop=own.max_drop)


def unresolved(report: EvaluationReport) -> list[str]:
    """Return a line for each limit that lies within the 95 % interval of what it limits."""
    lines = []
    for what, limits, scores in _judged(report):
        if limits.max_drop is not None and scores.drop_interval is not None:
            drop = scores.original - scores.compressed if isinstance(scores, OutputScore) else scores.drop
            told = f"maxDrop {limits.max_drop}: the drop of {what} is {drop:.2f} points"
            limit = float(parse_percent(limits.max_drop))
            lines.append(_unresolved(told, limit, (drop, scores.drop_interval), report.rows))
        if limits.min_score is not None and scores.compressed_interval is not None:
            told = f"minScore {limits.min_score}: {what} is {scores.compressed:.2f}%"
            limit = float(parse_percent(limits.min_score))
            measured = scores.compressed, scores.compressed_interval
            lines.append(_unresolved(told, limit, measured, report.rows))
    return [line for line in lines if line]


def _judged(
    report: EvaluationReport,
) -> Iterator[tuple[str, LimitsReport | OutputLimits, EvaluationReport | OutputScore]]:
    """Return what is judged, its limits and its scores: all outputs together, or each for itself."""
    limits = report.limits or LimitsReport()
    if not limits.outputs:
        yield report.metric.value, limits, report
        return
    own = {item.name: item for item in limits.outputs}
    for output in report.outputs:
        metric = output.metric or report.metric
        yield f"{metric.value} of output {output.name}", own.get(output.name, limits), output


def rows_to_tell(value: float, bounds: Bounds, limit: float, rows: int) -> int | None:
    """Return how many rows would put `limit` outside of the interval, which narrows with their root.

    None where no number would: the value is the limit.
    """
    half = (bounds[1] - bounds[0]) / 2
    distance = abs(value - limit)
    if distance == 0 or (needed := rows * (half / distance) ** 2) > _MANY_ROWS:
        return None
    return _two_digits(math.ceil(max(needed, rows + 1)))


def confusion(case: OutputCase, compressed: Array, name: str = "") -> Confusion:
    """Return the confusion matrices of the original and of another model; the rule is one of decisions.

    At most `MAX_CLASSES` classes, those with most labels, in the order of their numbers; all further ones
    are counted as `other`. Raises ValueError where the labels do not fit.
    """
    if case.labels is None:
        raise ValueError("there are no labels")
    expected = rules.expected(case.rule, case.labels, case.original.shape).ravel()
    counted, expected = expected != decisions.IGNORED, expected[expected != decisions.IGNORED]
    found = [case.rule.decider.decisions(outputs).ravel()[counted] for outputs in (case.original, compressed)]
    classes = _classes(case, [expected, *found])
    numbers = [np.searchsorted(classes, values) for values in (expected, *found)]
    kept, names = np.arange(len(classes)), [str(number) for number in classes]
    if len(classes) > MAX_CLASSES:
        counts = np.bincount(numbers[0], minlength=len(classes))
        kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_CLASSES])
        names = [*(names[number] for number in kept), "other"]
    index = np.full(len(classes), len(names) - 1)
    index[kept] = np.arange(len(kept))
    before, after = (_counts(index[numbers[0]], index[decided], len(names)) for decided in numbers[1:])
    return Confusion(output=name, classes=tuple(names), original=before, compressed=after)


def _classes(case: OutputCase, found: Sequence[Array]) -> Array:
    """Return all classes in order: those of the columns, or those that integers have."""
    if case.rule.decider.reading is Reading.INTEGERS:
        return np.unique(np.concatenate(found))
    return np.arange(case.original.shape[-1] if case.rule.decider.reading is Reading.GREATEST else 2)


def _other(metric: Metric, limits: Evaluation, outputs: Outputs) -> MetricScores | NotMeasured:
    try:
        cases = {name: _case(metric, limits, outputs, name) for name in outputs.original}
        before = {name: row_scores.of(case, case.original) for name, case in cases.items()}
        after = {name: row_scores.of(case, outputs.compressed[name]) for name, case in cases.items()}
    except ValueError as error:
        return NotMeasured(metric=metric, reason=str(error))
    return evaluation.metric_scores(before, after)


def _case(metric: Metric, limits: Evaluation, outputs: Outputs, name: str) -> OutputCase:
    labels, original = outputs.labels.get(name), outputs.original[name]
    if metric is Metric.AUC and original.size > _MANY_VALUES:
        raise ValueError(f"output {name} has more than {_MANY_VALUES:,} values")
    threshold = limits.of_output(name).threshold if metric in DECIDING else None
    decided = None if threshold is None else parse_decimal(threshold)
    return OutputCase(rules.rule(metric, decided, labels, original), labels, original)


def _confusions(limits: Evaluation, outputs: Outputs) -> Iterator[Confusion]:
    for name in list(outputs.original)[:_MAX_OUTPUTS]:
        if name not in outputs.labels or metrics.rows_without_numbers(outputs.compressed[name]):
            continue
        try:
            case = _case(Metric.ACCURACY, limits, outputs, name)
            yield confusion(case, outputs.compressed[name], name)
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
