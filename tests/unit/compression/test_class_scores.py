"""Scores of classes against scikit-learn's, and what their rows say of the error."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from modelpress.api.evaluation import Metric
from modelpress.compression.evaluation import class_scores, intervals
from modelpress.models.types import Array
from tests.support.scores import scored

SEEDS = st.integers(0, 2**32 - 1)


def classified(rows: int, classes: int, seed: int) -> tuple[Array, Array]:
    """Return labels that have all classes, and probabilities that are often right."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, rows)])
    logits = random.normal(size=(len(labels), classes)) + 1.5 * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def score(metric: Metric, labels: Array, outputs: Array) -> float:
    return scored(metric, {"y": labels}, {"y": outputs}, {"y": outputs}).compressed


@given(st.integers(0, 80), st.integers(3, 9), SEEDS)
@settings(max_examples=40)
def test_scores_of_classes_are_those_of_scikit_learn(rows: int, classes: int, seed: int) -> None:
    labels, outputs = classified(rows, classes, seed)
    decided = outputs.argmax(axis=1)
    balanced = sklearn_metrics.balanced_accuracy_score(labels, decided)
    assert score(Metric.BALANCED_ACCURACY, labels, outputs) == pytest.approx(100 * balanced)
    f1 = sklearn_metrics.f1_score(labels, decided, average="macro")
    assert score(Metric.F1, labels, outputs) == pytest.approx(100 * f1)
    area = sklearn_metrics.roc_auc_score(labels, outputs, multi_class="ovr")
    assert score(Metric.AUC, labels, outputs) == pytest.approx(100 * area)
    assert score(Metric.AUC, labels, np.log(outputs)) == pytest.approx(100 * area)  # logits of the same
    if classes > 5:
        top = sklearn_metrics.top_k_accuracy_score(labels, outputs, k=5)
        assert score(Metric.TOP_K_ACCURACY, labels, outputs) == pytest.approx(100 * top)


@given(st.integers(0, 80), SEEDS)
@settings(max_examples=40)
def test_scores_of_two_classes_are_those_of_scikit_learn(rows: int, seed: int) -> None:
    labels, outputs = classified(rows, 2, seed)
    rounded = np.round(outputs[:, 1:], 1)  # ties
    area = 100 * sklearn_metrics.roc_auc_score(labels, rounded)
    assert score(Metric.AUC, labels, rounded) == pytest.approx(area)
    assert score(Metric.AUC, labels[:, None], rounded[:, 0]) == pytest.approx(area)
    assert score(Metric.AUC, labels, np.log(outputs)) == score(Metric.AUC, labels, outputs)
    f1 = 100 * sklearn_metrics.f1_score(labels, rounded[:, 0] > 0.5, average="macro")
    assert score(Metric.F1, labels, rounded) == pytest.approx(f1)


@given(st.integers(4, 80), SEEDS)
@settings(max_examples=40)
def test_scores_of_labels_of_their_own_are_those_of_scikit_learn(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.concatenate([[[0, 1, 1, 0], [1, 0, 0, 1]], random.integers(0, 2, (rows, 4))])
    outputs = np.clip(random.normal(labels, 0.7) * 0.5 + 0.25, 0.0, 1.0)
    decided = outputs > 0.5
    f1 = sklearn_metrics.f1_score(labels, decided, average="macro", zero_division=0)
    assert score(Metric.F1, labels, outputs) == pytest.approx(100 * f1)
    area = sklearn_metrics.roc_auc_score(labels, outputs, average="macro")
    assert score(Metric.AUC, labels, outputs) == pytest.approx(100 * area)
    assert score(Metric.MULTI_LABEL_ACCURACY, labels, outputs) == pytest.approx(
        100 * (decided == labels).mean()
    )


def test_a_model_that_says_no_to_a_rare_class_is_seen() -> None:
    labels = np.r_[np.ones(40, int), np.zeros(960, int)]
    good, no = labels[:, None] * 0.8 + 0.1, np.full((1000, 1), 0.1)
    for metric, expected in ((Metric.ACCURACY, 96), (Metric.BALANCED_ACCURACY, 50), (Metric.AUC, 50)):
        report = scored(metric, {"y": labels}, {"y": good}, {"y": no})
        assert report.original == 100
        assert report.compressed == pytest.approx(expected)


def test_a_constant_model_has_no_label_in_its_top() -> None:
    labels = np.arange(60) % 12
    outputs = np.eye(12)[labels] + np.random.default_rng(0).random((60, 12))
    report = scored(Metric.TOP_K_ACCURACY, {"y": labels}, {"y": outputs}, {"y": np.full((60, 12), 0.5)})
    assert report.original > 90
    assert report.compressed == 0


METRICS: dict[str, Callable[[Array, Array], Array]] = {
    "balanced accuracy": lambda labels, outputs: class_scores.balanced_accuracy(
        labels, outputs.argmax(axis=1)
    ),
    "F1": lambda labels, outputs: class_scores.f1(labels, outputs.argmax(axis=1)),
    "AUC": lambda labels, outputs: class_scores.auc(np.eye(4, dtype=int)[labels], outputs),
}


@pytest.mark.parametrize("rows_of", METRICS.values(), ids=METRICS)
def test_intervals_agree_with_the_bootstrap_also_paired(rows_of: Callable[[Array, Array], Array]) -> None:
    labels, outputs = classified(600, 4, 1)
    random = np.random.default_rng(2)
    other = outputs + random.normal(size=outputs.shape) * 0.05
    before, after = rows_of(labels, outputs), rows_of(labels, other)
    alone, drop = intervals.of_mean(after), intervals.of_mean_drop(before, after)
    picks = random.integers(0, len(labels), (1000, len(labels)))
    again = [(rows_of(labels[p], outputs[p]).mean(), rows_of(labels[p], other[p]).mean()) for p in picks]
    scores = np.array(again)
    for found, values in ((alone, scores[:, 1]), (drop, scores[:, 0] - scores[:, 1])):
        assert found is not None
        low, high = np.percentile(values, [2.5, 97.5])
        assert found.high - found.low == pytest.approx(high - low, rel=0.2)


def test_rows_of_unlike_numbers_of_labels_agree_with_the_bootstrap() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, (400, 12))
    found = np.where(random.random(labels.shape) < random.random((400, 1)) * 0.5, 1 - labels, labels)
    labels[random.random(labels.shape) < random.random((400, 1))] = -1
    interval = intervals.of_mean(class_scores.right(labels, found))
    picks = random.integers(0, 400, (1000, 400))
    low, high = np.percentile([class_scores.right(labels[p], found[p]).mean() for p in picks], [2.5, 97.5])
    assert interval is not None
    assert interval.high - interval.low == pytest.approx(high - low, rel=0.2)
