"""One metric of one output, row by row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from modelpress.api.evaluation import Metric
from modelpress.compression.evaluation import class_scores, decisions, intervals, metrics, rules
from modelpress.compression.evaluation.dataset import invalid
from modelpress.compression.evaluation.decisions import IGNORED
from modelpress.compression.evaluation.intervals import Interval, Rows
from modelpress.compression.evaluation.rules import Rule
from modelpress.models.types import Array

_NUMBERS = (Metric.COSINE_SIMILARITY, Metric.R2, Metric.FIDELITY)  # of outputs, not of decisions


@dataclass(frozen=True)
class RowScores:
    """A score in percent, and a number for each row: their mean is the score, their spread its error.

    `rows` is None where the outputs are no numbers, or the score is at its lower bound.
    """

    metric: Metric
    score: float
    rows: Rows | None
    note: str | None = None

    @property
    def interval(self) -> Interval | None:
        """The interval of the score."""
        if self.rows is None:
            return None
        return intervals.of_mean(self.rows) if self.metric in _NUMBERS else intervals.of_decisions(self.rows)


@dataclass(frozen=True)
class OutputCase:
    """One output: how it is scored, and what that needs of the data and the original."""

    rule: Rule
    labels: Array | None
    original: Array  # (N, ...)


def of(case: OutputCase, found: Array) -> RowScores:
    """Return the scores of the outputs `found`, of the shape of the original's.

    Outputs that are no numbers have the lowest score. Raises ValueError where the labels do not fit.
    """
    rule = case.rule
    if metrics.rows_without_numbers(found):
        return RowScores(rule.metric, metrics.LOWEST, None, rule.note)
    rows = _SCORERS[rule.metric](case, found)
    score = float(rows.mean())
    if not score >= metrics.LOWEST:
        return RowScores(rule.metric, metrics.LOWEST, None, rule.note)
    return RowScores(rule.metric, score, rows, rule.note)


def named(case: OutputCase, name: str, found: Array) -> RowScores:
    """Return the scores of output `name`; raises InvalidData where its labels do not fit."""
    try:
        return of(case, found)
    except ValueError as error:
        raise invalid(f"data.evaluation, output {name}: {error}") from error


def drop_interval(before: RowScores, after: RowScores) -> Interval | None:
    """Return the interval of before - after, paired by row.

    The original agrees with itself by definition: there the loss is as uncertain as the score alone.
    """
    if before.rows is None or after.rows is None:
        return None
    if after.metric not in rules.NEEDS_LABELS:
        alone = after.interval
        return Interval(100 - alone.high, 100 - alone.low, alone.method) if alone else None
    if after.metric in _NUMBERS:
        return intervals.of_mean_drop(before.rows, after.rows)
    return intervals.of_decisions_drop(before.rows, after.rows)


def _cosine(case: OutputCase, found: Array) -> Rows:
    return metrics.cosine_similarity(case.original, found)


def _agreement(case: OutputCase, found: Array) -> Rows:
    decider = case.rule.decider
    return class_scores.agreement(decider.decisions(case.original), decider.decisions(found))


def _fidelity(case: OutputCase, found: Array) -> Rows:
    axis = case.rule.axis
    return metrics.explained(rules.columns(case.original, axis), rules.columns(found, axis))


def _r2(case: OutputCase, found: Array) -> Rows:
    return metrics.r2_rows(_labels(case), found)


def _accuracy(case: OutputCase, found: Array) -> Rows:
    return class_scores.right(*_decided(case, found))


def _balanced_accuracy(case: OutputCase, found: Array) -> Rows:
    return class_scores.balanced_accuracy(*_decided(case, found))


def _f1(case: OutputCase, found: Array) -> Rows:
    expected, decided = _decided(case, found)
    if not case.rule.by_column:
        return class_scores.f1(expected, decided)
    column = np.broadcast_to(np.arange(expected.shape[-1]), expected.shape)
    wanted = np.where(expected == 1, column, np.where(expected == 0, class_scores.NOTHING, IGNORED))
    return class_scores.f1(wanted, np.where(decided == 1, column, class_scores.NOTHING))


def _auc(case: OutputCase, found: Array) -> Rows:
    expected = rules.expected(case.rule, _labels(case), found.shape)
    if case.rule.by_column:
        return class_scores.auc(expected, found)
    if not decisions.several(found.shape):
        return class_scores.auc(expected[..., None], decisions.without_last(found)[..., None])
    if found.shape[-1] == 2:
        return class_scores.auc(expected[..., None], found[..., 1:] - found[..., :1])
    scores = found if decisions.from_0_to_1(case.original) else metrics.softmax(found)
    each = np.where(
        expected[..., None] == IGNORED, IGNORED, expected[..., None] == np.arange(found.shape[-1])
    )
    return class_scores.auc(each, scores)


def _top(case: OutputCase, found: Array) -> Rows:
    expected = rules.expected(case.rule, _labels(case), found.shape)
    return class_scores.right(expected, class_scores.in_top(expected, found, rules.TOP))


def _decided(case: OutputCase, found: Array) -> tuple[Array, Array]:
    return rules.expected(case.rule, _labels(case), found.shape), case.rule.decider.decisions(found)


def _labels(case: OutputCase) -> Array:
    if case.labels is None:
        raise ValueError("there are no labels")
    return case.labels


_SCORERS: Mapping[Metric, Callable[[OutputCase, Array], Rows]] = {
    Metric.ACCURACY: _accuracy,
    Metric.AGREEMENT: _agreement,
    Metric.COSINE_SIMILARITY: _cosine,
    Metric.R2: _r2,
    Metric.FIDELITY: _fidelity,
    Metric.BALANCED_ACCURACY: _balanced_accuracy,
    Metric.F1: _f1,
    Metric.MULTI_LABEL_ACCURACY: _accuracy,
    Metric.AUC: _auc,
    Metric.TOP_K_ACCURACY: _top,
}
