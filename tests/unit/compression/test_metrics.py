"""Scores against scikit-learn's, and their edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, r2_score
from sklearn.metrics.pairwise import paired_cosine_distances

from modelpress.compression.evaluation import class_scores, decisions, metrics
from modelpress.models.types import Array

random = np.random.default_rng(3)


def accuracy(labels: np.ndarray, outputs: np.ndarray) -> float:
    expected = decisions.label_decisions(labels, outputs.shape)
    return float(class_scores.right(expected, decisions.decider(outputs, labels).decisions(outputs)).mean())


def r2(labels: Array, outputs: Array) -> float:
    return float(metrics.r2_rows(labels, outputs).mean())


@given(st.integers(1, 60), st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_accuracy_is_that_of_scikit_learn(rows: int, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    outputs, labels = generator.normal(size=(rows, classes)), generator.integers(0, classes, rows)
    expected = 100 * accuracy_score(labels, outputs.argmax(axis=1))
    assert accuracy(labels, outputs) == pytest.approx(expected)
    assert accuracy(labels[:, None], outputs) == pytest.approx(expected)
    assert accuracy(np.eye(classes)[labels], outputs) == pytest.approx(expected)
    assert accuracy(labels.astype(np.float64), outputs) == pytest.approx(expected)


def test_an_axis_of_length_one_decides_at_one_half() -> None:
    outputs = np.array([[0.2], [0.5], [0.51], [0.9]])
    assert decisions.decider(outputs).decisions(outputs).tolist() == [0, 0, 1, 1]
    assert decisions.decider(outputs[:, 0]).decisions(outputs[:, 0]).tolist() == [0, 0, 1, 1]
    assert accuracy(np.array([0, 1, 1, 1]), outputs) == 75
    assert accuracy(np.array([[False], [True], [True], [True]]), outputs) == 75


def test_further_axes_count_as_positions() -> None:
    outputs = random.normal(size=(5, 7, 3))
    labels = outputs.argmax(axis=-1)
    labels[0, :2] = (labels[0, :2] + 1) % 3
    rows = class_scores.right(labels, decisions.decider(outputs, labels).decisions(outputs))
    assert rows.tolist() == pytest.approx([100 * 5 / 7, 100, 100, 100, 100])


@pytest.mark.parametrize(
    ("labels", "shape", "text"),
    [
        (np.zeros((4, 3)), (4, 10), "shape"),
        (np.array([0, 1, 2, 10]), (4, 10), "0..9"),
        (np.array([0, 1, 2, -2]), (4, 10), "0..9"),
        (np.array([0.0, 1, 2, -1]), (4, 10), "integer dtype"),
        (np.array([-1, -1, -1, -1]), (4, 10), "every label is -1"),
        (np.array([-1, 1, 1, -1]), (4, 1), "give 0 and 1"),
        (np.array([0, 1, 2, 0]), (4, 1), "0..1"),
        (np.array([0.5, 1, 1, 0]), (4, 10), "whole"),
        (np.array([np.nan, 1, 1, 0]), (4, 10), "whole"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_labels_that_are_no_decisions_are_refused(
    labels: np.ndarray,
    shape: tuple[int, ...],
    text: str,
) -> None:
    with pytest.raises(ValueError, match=text):
        decisions.label_decisions(labels, shape)


@given(st.integers(2, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_r2_is_that_of_scikit_learn(rows: int, columns: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.normal(size=(rows, columns))
    outputs = labels + generator.normal(size=(rows, columns)) * 0.3
    assert r2(labels, outputs) == pytest.approx(100 * r2_score(labels, outputs))
    beside = np.insert(labels, 0, 0.1, axis=1), np.insert(outputs, 0, 7.0, axis=1)
    assert r2(*beside) == pytest.approx(r2(labels, outputs))  # a constant column is left out


def test_r2_takes_labels_without_a_column_axis_and_can_be_negative() -> None:
    labels = np.arange(6.0)
    assert r2(labels, labels[:, None]) == 100
    assert r2(labels, -labels[:, None]) < -100
    with pytest.raises(ValueError, match="constant"):
        r2(np.full(6, 0.1), labels)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_cosine_similarity_is_that_of_scikit_learn(rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, rows, 4, 3))
    expected = 100 * (1 - paired_cosine_distances(a.reshape(rows, -1), b.reshape(rows, -1)))
    np.testing.assert_allclose(metrics.cosine_similarity(a, b), expected, atol=1e-8)


def test_zero_vectors_are_like_each_other_only() -> None:
    zero, one = np.zeros((1, 3)), np.ones((1, 3))
    assert metrics.cosine_similarity(zero, zero).tolist() == [100]
    assert metrics.cosine_similarity(zero, one).tolist() == [0]


def test_rows_without_numbers_are_counted() -> None:
    outputs = np.ones((10_000, 2), np.float32)
    outputs[[3, 9_000], 1] = np.nan, np.inf
    assert metrics.rows_without_numbers(outputs) == 2
    assert metrics.rows_without_numbers(np.ones(3, np.int32)) == 0
