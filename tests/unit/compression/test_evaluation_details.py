"""All metrics that the data allows, confusion matrices as scikit-learn's, limits within the noise."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, r2_score

from modelpress.api.evaluation import Evaluation, Metric
from modelpress.compression.evaluation import details, metrics, rules
from modelpress.compression.evaluation.details import Outputs
from modelpress.compression.evaluation.row_scores import OutputCase
from modelpress.compression.report.document import Confusion, EvaluationReport, MetricScores
from tests.support.scores import scored

random = np.random.default_rng(11)


def classified(rows: int = 300, classes: int = 4, wrong: float = 0.1) -> tuple[Any, Any, Any]:
    """Return labels, and the outputs of two models that are wrong here and there."""
    labels = random.integers(0, classes, rows)
    outputs = []
    for _ in range(2):
        decided = np.where(random.random(rows) < wrong, random.integers(0, classes, rows), labels)
        outputs.append(np.eye(classes)[decided] + random.uniform(0, 0.2, (rows, classes)))
    return labels, outputs[0], outputs[1]


def completed(metric: Metric, outputs: Outputs, **limits: str) -> EvaluationReport:
    scores = scored(metric, outputs.labels, outputs.original, outputs.compressed)
    return details.complete(scores, Evaluation(metric=metric, **limits), outputs)


def other(report: EvaluationReport, metric: Metric) -> MetricScores:
    return next(scores for scores in report.others if scores.metric is metric)


def test_labels_give_accuracy_beside_the_gates_metric_and_r2_says_why_not() -> None:
    labels, before, after = classified()
    report = completed(Metric.AGREEMENT, Outputs({"y": labels}, {"y": before}, {"y": after}), min_score="1%")
    accuracy = other(report, Metric.ACCURACY)
    assert accuracy.original == pytest.approx(100 * accuracy_score(labels, before.argmax(axis=1)))
    assert accuracy.compressed == pytest.approx(100 * accuracy_score(labels, after.argmax(axis=1)))
    assert accuracy.drop_interval is not None
    assert accuracy.drop_interval[0] < accuracy.drop < accuracy.drop_interval[1]
    assert accuracy.original_interval is not None
    reasons = {item.metric: item.reason for item in report.not_measured}
    assert {scores.metric for scores in report.others} == set(Metric) - {Metric.AGREEMENT, *reasons}
    assert set(reasons) == {Metric.R2, Metric.MULTI_LABEL_ACCURACY, Metric.TOP_K_ACCURACY}
    assert "shape" in reasons[Metric.R2]


def test_a_regression_gets_r2_and_no_accuracy_or_confusion() -> None:
    labels = random.normal(size=(200, 3))
    before = labels + random.normal(size=labels.shape) * 0.1
    after = labels + random.normal(size=labels.shape) * 0.2
    report = completed(Metric.R2, Outputs({"y": labels}, {"y": before}, {"y": after}), max_drop="1%")
    assert report.original == pytest.approx(100 * r2_score(labels, before))
    assert report.compressed_interval is not None
    assert report.compressed_interval[0] < report.compressed < report.compressed_interval[1]
    assert report.drop_interval is not None
    reasons = {item.metric: item.reason for item in report.not_measured}
    assert reasons[Metric.ACCURACY] == "the labels are numbers, neither classes nor one-hot; R2 fits"
    assert {scores.metric for scores in report.others} == {Metric.COSINE_SIMILARITY, Metric.FIDELITY}
    assert report.confusion == ()


def test_without_labels_only_the_comparisons_are_measured() -> None:
    _, before, after = classified()
    report = completed(Metric.COSINE_SIMILARITY, Outputs({}, {"y": before}, {"y": after}), min_score="1%")
    assert [scores.metric for scores in report.others] == [Metric.AGREEMENT, Metric.FIDELITY]
    assert {item.reason for item in report.not_measured} == {"there are no labels"}
    assert report.original_interval is None
    assert report.compressed_interval is not None
    assert report.drop_interval is not None
    assert report.drop_interval[0] == pytest.approx(100 - report.compressed_interval[1])


def test_the_drop_between_different_worst_outputs_is_paired_by_row() -> None:
    labels, good, bad = classified(wrong=0.05)
    outputs = Outputs({"a": labels, "b": labels}, {"a": good, "b": bad}, {"a": -good, "b": bad})
    report = completed(Metric.ACCURACY, outputs, max_drop="1%")
    assert report.compressed < 50
    assert report.drop_interval is not None
    assert report.drop_interval[0] < report.drop < report.drop_interval[1]
    assert [item.output for item in report.confusion] == ["a", "b"]


def test_outputs_that_are_no_numbers_are_lowest_in_every_metric() -> None:
    labels, before, after = classified()
    after[3, 0] = np.nan
    report = completed(Metric.ACCURACY, Outputs({"y": labels}, {"y": before}, {"y": after}), max_drop="1%")
    assert report.invalid
    assert {scores.compressed for scores in (report, *report.others)} == {metrics.LOWEST}
    assert report.drop_interval is None
    assert report.confusion == ()
    assert details.unresolved(report) == []


def confused(labels: Any, before: Any, after: Any) -> Confusion:
    case = OutputCase(rules.rule(Metric.ACCURACY, None, labels, before), labels, before)
    return details.confusion(case, after)


def test_confusion_is_that_of_scikit_learn() -> None:
    labels, before, after = classified()
    found = confused(labels, before, after)
    assert np.array_equal(found.original, confusion_matrix(labels, before.argmax(axis=1)))
    assert np.array_equal(found.compressed, confusion_matrix(labels, after.argmax(axis=1)))
    assert found.classes == ("0", "1", "2", "3")
    binary = confused(labels > 1, before[:, :1], after[:, :1])
    assert np.array_equal(binary.original, confusion_matrix(labels > 1, before[:, 0] > 0))
    one_hot = confused(np.eye(4)[labels], before, after)
    assert one_hot == found


def test_many_classes_are_counted_as_other_and_no_row_is_lost() -> None:
    labels, before, after = classified(3000, 60)
    found = confused(labels, before, after)
    assert len(found.classes) == details.MAX_CLASSES + 1
    assert found.classes[-1] == "other"
    assert np.sum(found.original) == np.sum(found.compressed) == 3000
    kept = [int(name) for name in found.classes[:-1]]
    assert np.array_equal(np.sum(found.original, axis=1)[:-1], np.bincount(labels, minlength=60)[kept])


def test_a_limit_within_the_noise_is_told_with_the_numbers() -> None:
    rows = 539
    labels = np.zeros(rows, int)
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    before = np.array([right] * 529 + [wrong] * 10)
    after = np.array([right] * 527 + [wrong] * 12)
    outputs = Outputs({"y": labels}, {"y": before}, {"y": after})
    report = completed(Metric.ACCURACY, outputs, max_drop="0.5%", min_score="92%")
    lines = details.unresolved(report)
    assert len(lines) == 1
    assert lines[0].startswith(
        "maxDrop 0.5%: the drop of Accuracy is 0.37 points, 95 % interval -0.35 to 1.09: "
        "539 rows cannot tell it from the limit; about "
    )
    clear = completed(Metric.ACCURACY, outputs, max_drop="5%", min_score="90%")
    assert details.unresolved(clear) == []


def test_rows_to_tell_grow_with_the_square_of_the_width_and_never_end_at_the_limit_itself() -> None:
    assert details.rows_to_tell(0.0, (-1.0, 1.0), 0.5, 100) == 400
    assert details.rows_to_tell(0.0, (-1.0, 1.0), 0.0, 100) is None
