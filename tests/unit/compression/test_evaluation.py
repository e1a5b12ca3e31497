"""Predictions in batches, and scores of models with several outputs or without numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.evaluation import Metric
from modelpress.compression.evaluation import evaluation, metrics
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.models.types import Array, Arrays, TensorSpec
from tests.support.scores import scored

SPEC = TensorSpec("x", (-1, 3), "float32")


class Double:
    """A model that doubles its input, and remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def call(self, inputs: Arrays) -> dict[str, Array]:
        self.batches.append(len(inputs["x"]))
        return {"y": inputs["x"] * np.float32(2)}


def data_of(rows: int, spec: TensorSpec = SPEC) -> Dataset:
    values = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    return Dataset({"x": values}, {}, (spec,), rows)


def test_all_rows_are_predicted_in_order_and_the_last_batch_is_filled(tmp_path: Path) -> None:
    data, model = data_of(10), Double()
    found = evaluation.predict(model, data, tmp_path, batch=4, step="evaluate")
    assert np.array_equal(found["y"], data.inputs["x"] * 2)
    assert model.batches == [4, 4, 4]


def test_a_model_of_a_fixed_batch_gets_that_batch() -> None:
    fixed = TensorSpec("x", (4, 3), "float32")
    assert evaluation.batch_size((fixed,), data_of(10, fixed)) == 4
    assert evaluation.batch_size((SPEC,), data_of(10)) == 10
    assert evaluation.batch_size((SPEC,), data_of(10_000)) == 256


def test_rows_that_are_not_independent_are_refused(tmp_path: Path) -> None:
    class Mean:
        def call(self, inputs: Arrays) -> dict[str, Array]:
            return {"y": np.asarray(inputs["x"].astype(np.float32).mean(axis=0, keepdims=True))}

    with pytest.raises(DataError, match="independent"):
        evaluation.predict(Mean(), data_of(4), tmp_path, batch=4, step="evaluate")


def test_the_worst_output_counts() -> None:
    labels = {"a": np.array([0, 1, 1, 0]), "b": np.array([0, 1, 1, 0])}
    good, bad = np.eye(2)[[0, 1, 1, 0]], np.eye(2)[[0, 1, 0, 1]]
    report = scored(Metric.ACCURACY, labels, {"a": good, "b": good}, {"a": good, "b": bad})
    assert (report.original, report.compressed, report.drop) == (100, 50, 50)
    assert [(output.name, output.compressed) for output in report.outputs] == [("a", 100), ("b", 50)]


def test_an_output_that_loses_is_not_hidden_by_a_worse_one_that_gains() -> None:
    labels = {"a": np.array([0, 1, 1, 0]), "b": np.array([0, 1, 1, 0])}
    good, half, bad = np.eye(2)[[0, 1, 1, 0]], np.eye(2)[[0, 1, 0, 1]], np.eye(2)[[0, 0, 0, 1]]
    report = scored(Metric.ACCURACY, labels, {"a": good, "b": bad}, {"a": half, "b": half})
    assert (report.original, report.compressed, report.drop) == (25, 50, 50)
    assert report.drop_interval is not None
    assert report.drop_interval[0] < 50 < report.drop_interval[1]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_get_the_lowest_score_and_valid_json(
    metric: Metric, broken: float
) -> None:
    random = np.random.default_rng(0)
    labels = {"y": np.array([0, 1, 2])}
    if metric in (Metric.R2, Metric.MULTI_LABEL_ACCURACY):
        labels = {"y": np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 1, 1], [0, 1, 0, 1, 0, 1]])}
    original = {"y": np.eye(6)[[0, 1, 4]] + random.random((3, 6))}
    compressed = {"y": original["y"].copy()}
    compressed["y"][1, 0] = broken
    report = scored(metric, labels, original, compressed)
    assert report.compressed == metrics.LOWEST
    assert report.invalid == "output y is NaN or infinite for 1 rows"
    assert json.loads(report.model_dump_json(by_alias=True))["compressed"] == metrics.LOWEST


def test_an_original_without_numbers_is_invalid(tmp_path: Path) -> None:
    class Broken:
        def call(self, inputs: Arrays) -> dict[str, Array]:
            return {"y": inputs["x"] * np.float32(np.nan)}

    with pytest.raises(DataError) as caught:
        evaluation.reference(Broken(), (SPEC,), data_of(4), tmp_path)
    assert caught.value.reason is Reason.INVALID_MODEL


@pytest.mark.parametrize("metric", [Metric.ACCURACY, Metric.R2])
def test_labels_that_do_not_fit_the_output_are_invalid_data(metric: Metric) -> None:
    outputs = {"y": np.ones((3, 2))}
    with pytest.raises(DataError, match="output y") as caught:
        scored(metric, {"y": np.ones((3, 7))}, outputs, outputs)
    assert caught.value.reason is Reason.INVALID_DATA


@pytest.mark.parametrize("metric", [Metric.AGREEMENT, Metric.COSINE_SIMILARITY])
def test_metrics_without_labels_give_the_original_100(metric: Metric) -> None:
    outputs: dict[str, Any] = {"y": np.random.default_rng(0).normal(size=(20, 4))}
    report = scored(metric, {}, outputs, {"y": outputs["y"] * [1, 1, 1, -1]})
    assert report.original == pytest.approx(100)
    assert report.compressed < 100
    assert report.drop_interval is not None
    assert report.drop_interval[0] < report.drop < report.drop_interval[1]
