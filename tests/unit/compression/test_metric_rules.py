"""Which metric fits: what would pass a broken model is refused, and what people have is measured right."""

from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.evaluation import Evaluation, Metric
from modelpress.compression.evaluation import evaluation, rules
from modelpress.compression.report.document import EvaluationReport
from modelpress.models.types import Array
from tests.support.scores import scored

ROWS = 400
random = np.random.default_rng(17)


def score_of(
    metric: Metric | None, labels: Array | None, original: Array, found: Array | None = None, **fields: str
) -> EvaluationReport:
    wanted = Evaluation(metric=metric, max_size="1Gi", **fields)
    named = {} if labels is None else {"y": labels}
    rule = rules.of_outputs(wanted, named, {"y": original})
    return evaluation.score(rule, named, {"y": original}, {"y": original if found is None else found})


def note(report: EvaluationReport) -> str:
    return report.outputs[0].note or ""


def sigmoid(values: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-values)))


def softmax(values: Array) -> Array:
    return np.asarray(np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True))


LOGITS = random.normal(size=(ROWS, 1)) * 4
FLAGS = random.integers(0, 2, (ROWS, 7))
NUMBERS = random.normal(size=(ROWS, 7))
CLASSES = random.integers(0, 7, ROWS)
PRICES = 300 + 20 * random.normal(size=(ROWS, 1))
BOXES = np.concatenate([random.uniform(0, 640, (ROWS, 4)), random.uniform(0, 0.2, (ROWS, 80))], axis=1)
IMAGES = random.random((20, 6, 5, 8))
IDS = IMAGES.argmax(axis=-1)

REFUSED: dict[str, tuple[Metric, Array | None, Array, str]] = {
    "Accuracy of multi-hot labels": (
        Metric.ACCURACY,
        FLAGS,
        sigmoid(NUMBERS),
        "neither classes nor one-hot.*; MultiLabelAccuracy fits",
    ),
    "Accuracy of numbers": (Metric.ACCURACY, NUMBERS, NUMBERS, "numbers, neither classes.*; R2 fits"),
    "Accuracy of counts": (Metric.ACCURACY, CLASSES + 18, PRICES, "18 to 24, .* 0..1; R2 fits"),
    "Accuracy of prices": (Metric.ACCURACY, PRICES, PRICES, "no whole numbers; R2 fits"),
    "Accuracy of soft labels": (Metric.ACCURACY, softmax(NUMBERS), NUMBERS, "R2 fits"),
    "F1 of numbers": (Metric.F1, NUMBERS, NUMBERS, "R2 fits"),
    "F1 of one class": (Metric.F1, np.full(ROWS, 3), NUMBERS, "all labels are 3; .* Accuracy fits"),
    "BalancedAccuracy of one class": (Metric.BALANCED_ACCURACY, np.zeros(ROWS), LOGITS, "two classes"),
    "AUC of one class": (Metric.AUC, np.zeros(ROWS, int), LOGITS, "two classes; Accuracy fits"),
    "AUC of class ids": (Metric.AUC, IDS, IDS, "integers .int64., .*; Accuracy fits"),
    "TopKAccuracy of few": (Metric.TOP_K_ACCURACY, CLASSES % 5, NUMBERS[:, :5], "5 columns.*Accuracy fits"),
    "MultiLabelAccuracy of classes": (
        Metric.MULTI_LABEL_ACCURACY,
        np.eye(7)[CLASSES],
        softmax(NUMBERS),
        "share one decision; .*Accuracy fits",
    ),
    "MultiLabelAccuracy of numbers": (Metric.MULTI_LABEL_ACCURACY, NUMBERS, NUMBERS, "whole|not 0 or 1"),
    "R2 of constant labels": (Metric.R2, np.full((ROWS, 1), 0.1), PRICES, "constant.*; Fidelity fits"),
    "R2 of one row": (Metric.R2, PRICES[:1], PRICES[:1], "single row .*give more rows"),
    "R2 of masks": (Metric.R2, IDS, IDS, "integers.*; Accuracy fits"),
    "R2 of other shapes": (Metric.R2, CLASSES, NUMBERS, "shape"),
    "CosineSimilarity of one column": (Metric.COSINE_SIMILARITY, None, PRICES, "sign; Fidelity fits"),
    "CosineSimilarity of no column": (Metric.COSINE_SIMILARITY, None, PRICES[:, 0], "sign; Fidelity fits"),
    "CosineSimilarity of boxes and scores": (Metric.COSINE_SIMILARITY, None, BOXES, "columns 4, 5, .*80 in"),
    "CosineSimilarity of boxes and one score": (Metric.COSINE_SIMILARITY, None, BOXES[:, :5], "columns 4 of"),
    "CosineSimilarity of boxes of 0 to 1 and faint scores": (
        Metric.COSINE_SIMILARITY,
        None,
        np.concatenate([BOXES[:, :4] / 640, BOXES[:, 4:] / 10], axis=1),
        "80 of 84 columns hold less than 1%",
    ),
    "CosineSimilarity of anchors in the last axis": (
        Metric.COSINE_SIMILARITY,
        None,
        np.repeat(BOXES[:20, :, None], 30, axis=2),
        "of axis 1 have less",
    ),
    "CosineSimilarity of an age beside features": (
        Metric.COSINE_SIMILARITY,
        None,
        np.concatenate([PRICES * 10, NUMBERS], axis=1),
        "columns 1, 2",
    ),
    "CosineSimilarity of temperatures": (Metric.COSINE_SIMILARITY, None, NUMBERS + 290, "mean .* 99.99"),
    "CosineSimilarity of ids": (Metric.COSINE_SIMILARITY, None, IDS, "integers.*; Agreement fits"),
    "Agreement of boxes and scores": (Metric.AGREEMENT, None, BOXES, "columns 4, 5.*; Fidelity fits"),
    "Agreement of prices": (Metric.AGREEMENT, None, PRICES, "decides 1 for every row.*; Fidelity fits"),
    "Agreement of numbers": (Metric.AGREEMENT, NUMBERS, NUMBERS, "decide nothing; R2 fits"),
    "Agreement of multi-hot labels": (Metric.AGREEMENT, FLAGS, sigmoid(NUMBERS), "MultiLabelAccuracy fits"),
    "Fidelity of ids": (Metric.FIDELITY, None, IDS, "integers.*; Agreement fits"),
    "Fidelity of a constant": (Metric.FIDELITY, None, np.full((ROWS, 2), 0.3), "constant"),
    "labels of -1 and 1": (Metric.ACCURACY, np.where(LOGITS > 0, 1, -1), LOGITS, "give 0 and 1"),
    "labels that are all ignored": (Metric.ACCURACY, np.full(ROWS, -1), NUMBERS, "every label is -1"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_metric_that_would_mislead_is_refused_with_the_one_that_fits(
    case: tuple[Metric, Array | None, Array, str],
) -> None:
    metric, labels, outputs, text = case
    with pytest.raises(DataError, match=text) as caught:
        score_of(metric, labels, outputs)
    assert caught.value.reason is Reason.INVALID_DATA
    assert caught.value.message.startswith(f"data.evaluation, output y: {metric.value}: ")


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32])
def test_class_ids_and_masks_are_compared_for_equality(dtype: Any) -> None:
    original, found = IDS.astype(dtype), IDS.copy().astype(dtype)
    changed = random.random(IDS.shape) < 0.46
    found[changed] = (found[changed] + 1) % 8
    same = 100 * (1 - changed.mean())
    assert score_of(Metric.AGREEMENT, None, original, found).compressed == pytest.approx(same)
    assert score_of(Metric.ACCURACY, IDS, original, found).compressed == pytest.approx(same)
    assert score_of(Metric.ACCURACY, IDS, original).compressed == 100
    flat = score_of(Metric.AGREEMENT, None, original[:, 0, 0], found[:, 0, 0])
    assert flat.compressed == pytest.approx(100 * (1 - changed[:, 0, 0].mean()))


def test_booleans_are_compared_for_equality() -> None:
    original = FLAGS > 0
    found = original ^ (random.random(original.shape) < 0.2)
    same = 100 * (original == found).mean()
    assert score_of(Metric.AGREEMENT, None, original, found).compressed == pytest.approx(same)
    assert score_of(Metric.MULTI_LABEL_ACCURACY, FLAGS, original, found).compressed == pytest.approx(same)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1)])
def test_a_head_of_logits_is_decided_at_0_and_of_probabilities_at_one_half(
    dtype: Any, shape: tuple[int, ...]
) -> None:
    labels = (LOGITS > 0).astype(dtype).reshape(shape)
    assert score_of(Metric.ACCURACY, labels, LOGITS).original == 100
    assert "decided at 0" in note(score_of(Metric.ACCURACY, labels, LOGITS))
    assert score_of(Metric.ACCURACY, labels, sigmoid(LOGITS)).original == 100
    assert note(score_of(Metric.ACCURACY, labels, sigmoid(LOGITS))) == ""
    every = sigmoid(np.concatenate([LOGITS] * 3, axis=1))
    flags = np.repeat(labels.reshape(-1, 1), 3, axis=1)
    assert score_of(Metric.MULTI_LABEL_ACCURACY, flags, every).original == 100
    assert score_of(Metric.MULTI_LABEL_ACCURACY, flags, every * 9 - 4.5).original == 100


def test_a_compressed_model_is_decided_as_the_original() -> None:
    labels = (LOGITS > 0).astype(int)
    squashed = sigmoid(LOGITS)  # all above 0: not the logits that clients expect
    found = score_of(Metric.ACCURACY, labels, LOGITS, squashed)
    assert found.compressed == pytest.approx(100 * labels.mean())


def test_a_threshold_of_the_spec_decides() -> None:
    labels = (sigmoid(LOGITS) > 0.9).astype(int)
    assert score_of(Metric.ACCURACY, labels, sigmoid(LOGITS), threshold="0.9").original == 100
    assert score_of(Metric.ACCURACY, labels, sigmoid(LOGITS)).original < 90
    assert score_of(None, labels, sigmoid(LOGITS), threshold="0.9").original == 100
    with pytest.raises(DataError, match=r"evaluation\.threshold decides outputs of one column"):
        score_of(Metric.ACCURACY, CLASSES, NUMBERS, threshold="0.9")
    with pytest.raises(DataError, match=r"evaluation\.threshold: R2 decides nothing"):
        score_of(None, NUMBERS, NUMBERS, threshold="0.9")


CHOSEN: dict[str, tuple[Array | None, Array, Metric]] = {
    "classes": (CLASSES, NUMBERS, Metric.ACCURACY),
    "one-hot": (np.eye(7)[CLASSES], NUMBERS, Metric.ACCURACY),
    "a binary head": ((LOGITS > 0).astype(np.float32), LOGITS, Metric.ACCURACY),
    "class ids": (IDS, IDS, Metric.ACCURACY),
    "multi-hot": (FLAGS.astype(np.float32), sigmoid(NUMBERS), Metric.MULTI_LABEL_ACCURACY),
    "numbers": (NUMBERS, NUMBERS, Metric.R2),
    "a column of numbers": (PRICES[:, 0], PRICES, Metric.R2),
    "ages": (CLASSES + 18, CLASSES[:, None] + 18.5, Metric.R2),
    "features without labels": (None, NUMBERS, Metric.FIDELITY),
    "a column without labels": (None, PRICES, Metric.FIDELITY),
    "class ids without labels": (None, IDS, Metric.AGREEMENT),
    "probabilities without labels": (None, softmax(NUMBERS), Metric.AGREEMENT),
    "boxes and scores without labels": (None, BOXES, Metric.FIDELITY),
}


@pytest.mark.parametrize("case", CHOSEN.values(), ids=CHOSEN)
def test_the_metric_is_chosen_from_labels_and_outputs(
    case: tuple[Array | None, Array, Metric],
) -> None:
    labels, outputs, metric = case
    report = score_of(None, labels, outputs)
    assert report.metric is metric
    assert report.outputs[0].metric is metric


def test_each_output_gets_the_metric_that_fits_it() -> None:
    outputs = {"class": NUMBERS, "price": PRICES, "features": NUMBERS}
    labels = {"class": NUMBERS.argmax(axis=1), "price": PRICES + 1}
    report = scored(None, labels, outputs, outputs)
    assert [output.metric for output in report.outputs] == [Metric.ACCURACY, Metric.R2, Metric.FIDELITY]
    assert report.metric is Metric.R2  # the worst of them


UNLIKE = {
    "boxes and scores": BOXES,
    "boxes and one score": BOXES[:, :5],
    "anchors in the last axis": np.repeat(BOXES[:20, :, None], 30, axis=2) + random.random((20, 84, 30)),
    "an age beside features": np.concatenate([PRICES * 10, NUMBERS], axis=1),
}


@pytest.mark.parametrize("original", UNLIKE.values(), ids=UNLIKE)
def test_fidelity_sees_what_the_cosine_of_rows_hides(original: Array) -> None:
    lost = original.copy()
    lost[:, 4:] = 0
    assert score_of(Metric.FIDELITY, None, original).compressed == 100
    assert score_of(Metric.FIDELITY, None, original, lost).compressed < 81


LIKE = {
    "features": NUMBERS,
    "relu": np.maximum(NUMBERS, 0),
    "classes": softmax(NUMBERS * 5),
    "rare classes": softmax(np.concatenate([NUMBERS, np.full((ROWS, 60), -30.0)], axis=1)),
    "labels": sigmoid(NUMBERS),
    "images": random.random((20, 8, 8, 3)),
    "images of 0 to 255": 255 * np.pad(random.random((20, 8, 8, 3)), ((0, 0), (2, 2), (2, 2), (0, 0))),
    "unlike scales": NUMBERS * [1, 1, 1, 3, 3, 5, 0.5],
    "a dead feature": NUMBERS * [1, 1, 1, 0, 1, 1, 1],
    "a constant feature": np.insert(NUMBERS, 3, 1e-6, axis=1),
    "a rare feature": np.where(random.random((ROWS, 7)) < [1, 1, 1, 1, 1, 1, 0.01], abs(NUMBERS), 0),
}


@pytest.mark.parametrize("outputs", LIKE.values(), ids=LIKE)
def test_the_cosine_of_rows_is_measured_where_it_fits(outputs: Array) -> None:
    noisy = outputs + random.normal(size=outputs.shape) * 0.01
    assert 95 < score_of(Metric.COSINE_SIMILARITY, None, outputs, noisy).compressed < 100


def test_constant_columns_are_left_out_and_named() -> None:
    original = np.insert(NUMBERS, [2, 4], 0.25, axis=1).astype(np.float32)
    found = original + random.normal(size=original.shape) * 0.1
    fidelity = score_of(Metric.FIDELITY, None, original, found)
    assert note(fidelity).endswith("are left out: 2, 5")
    kept = [0, 1, 3, 4, 6, 7, 8]
    expected = 1 - ((found - original)[:, kept] ** 2).mean(axis=0) / original[:, kept].var(axis=0)
    assert fidelity.compressed == pytest.approx(100 * expected.mean())
    explained = score_of(Metric.R2, original, original, found)
    assert explained.compressed == pytest.approx(fidelity.compressed)
    assert "labels are constant" in note(explained)


def test_an_ignored_label_counts_nowhere() -> None:
    outputs = random.normal(size=(50, 9, 4))
    right = outputs.argmax(axis=-1)
    labels = np.where(random.random(right.shape) < 0.3, (right + 1) % 4, right)
    ignored = random.random(right.shape) < 0.4
    ignored[:3] = True
    masked = np.where(ignored, -1, labels)
    kept = ~ignored
    expected = 100 * (labels == right)[kept].mean()
    assert score_of(Metric.ACCURACY, masked, outputs).original == pytest.approx(expected)
    assert score_of(Metric.ACCURACY, masked, right).original == pytest.approx(expected)
    flat = {Metric.BALANCED_ACCURACY, Metric.F1, Metric.AUC}
    for metric in flat:
        alone = score_of(metric, labels[kept], outputs[kept])
        assert score_of(metric, masked, outputs).original == pytest.approx(alone.original)
    flags, several = np.where(ignored, -1, labels > 1), sigmoid(random.normal(size=right.shape))
    expected = 100 * ((several > 0.5) == (labels > 1))[kept].mean()
    assert score_of(Metric.MULTI_LABEL_ACCURACY, flags, several).original == pytest.approx(expected)


def test_one_class_of_labels_is_told() -> None:
    assert "all labels are 3" in note(score_of(Metric.ACCURACY, np.full(ROWS, 3), NUMBERS))


def test_an_original_that_is_worse_than_the_mean_is_told() -> None:
    assert "worse than their mean" in note(score_of(Metric.R2, NUMBERS, NUMBERS + 3))
    assert note(score_of(Metric.R2, NUMBERS, NUMBERS + 0.1)) == ""


def test_an_original_far_from_its_labels_is_invalid_data() -> None:
    with pytest.raises(DataError, match="R2 of the original is below -9999 %") as caught:
        score_of(Metric.R2, NUMBERS, NUMBERS * 1e6)
    assert caught.value.reason is Reason.INVALID_DATA
