"""What data.training asks of a model: the loss of each output, and what is refused, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression.passes.training import training_data
from modelpress.compression.passes.training.training_data import Loss, TrainingData
from modelpress.models.types import Array, Arrays, ComputationError, LoadedModel, TensorSpec

ROWS = 20


class ArrayModel:
    """A model that is a numpy function of x (N, 4)."""

    def __init__(self, batch: int = -1, **outputs: Callable[[Array], Array]) -> None:
        self.inputs = (TensorSpec("x", (batch, 4), "float32"),)
        self._outputs = outputs
        found = self.call({"x": np.ones((2, 4), np.float32)})
        self.outputs = tuple(
            TensorSpec(name, (-1, *array.shape[1:]), array.dtype.name) for name, array in found.items()
        )

    def call(self, inputs: Arrays) -> dict[str, Array]:
        return {name: compute(inputs["x"]) for name, compute in self._outputs.items()}


def softmax(x: Array) -> Array:
    powers = np.exp(x)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def logits(x: Array) -> Array:
    return x * 3


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x[:, :1])))


def load(folder: Path, model: ArrayModel, arrays: Mapping[str, Any], share: float = 0.0) -> TrainingData:
    path = folder / "train.npz"
    x = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    np.savez(path, **{"x": x, **arrays})
    return training_data.load(path, folder / "work", cast(LoadedModel, model), distillation=share)


def classes(top: int) -> Array:
    return np.asarray(np.arange(ROWS) % top)


def several(dtype: Any) -> Array:
    return np.asarray((classes(4)[:, None] + np.arange(4)) % 4 > 1, dtype=dtype)


@pytest.mark.parametrize(
    ("compute", "labels", "loss", "from_logits"),
    [
        (softmax, classes(4), Loss.CLASSES, False),
        (logits, classes(4).astype(np.uint8), Loss.CLASSES, True),
        (softmax, np.eye(4)[classes(4)], Loss.CLASSES, False),
        (sigmoid, classes(2), Loss.BINARY, False),
        (sigmoid, classes(2).astype(bool)[:, None], Loss.BINARY, False),
        (lambda x: x[:, :1] * 9, classes(2), Loss.BINARY, True),
        (lambda x: x[:, 0] * 9, classes(2), Loss.BINARY, True),
        (lambda x: x[:, :1] * 9, classes(2).astype(np.float32), Loss.BINARY, True),
        (lambda x: x[:, 0] * 9, classes(2).astype(np.float64)[:, None], Loss.BINARY, True),
        (sigmoid, classes(2).astype(np.float32)[:, None], Loss.BINARY, False),
        (logits, several(np.float32), Loss.BINARY, True),
        (logits, several(np.uint8), Loss.BINARY, True),
        (lambda x: 1 / (1 + np.exp(-x)), several(np.float32), Loss.BINARY, False),
        (lambda x: 1 / (1 + np.exp(-x)), np.eye(4, dtype=np.float32)[classes(4)], Loss.BINARY, False),
        (softmax, classes(4) - (classes(5) == 4) * (classes(4) + 1), Loss.CLASSES, False),
        (logits, np.ones((ROWS, 4)) / 3, Loss.SQUARES, False),
        (lambda x: x[:, :1], np.arange(ROWS) / 2, Loss.SQUARES, False),
        (softmax, None, Loss.TEACHER, False),
        (sigmoid, None, Loss.BINARY, False),
        (logits, None, Loss.SQUARES, False),
    ],
)
def test_the_loss_follows_from_labels_and_outputs(
    tmp_path: Path, compute: Any, labels: Array | None, loss: Loss, from_logits: bool
) -> None:
    model = ArrayModel(out=compute)
    arrays = {} if labels is None else {"y": labels}
    [target] = load(tmp_path, model, arrays).targets
    assert (target.output, target.loss, target.from_logits) == ("out", loss, from_logits)
    assert target.distilled == (labels is None)
    assert len(target.values) == ROWS
    if loss is not Loss.CLASSES:
        assert target.values.shape == (ROWS, *model.outputs[0].shape[1:])
        assert target.values.dtype == np.float32


def test_without_labels_the_values_are_the_outputs_of_the_original(tmp_path: Path) -> None:
    found = load(tmp_path, ArrayModel(out=logits), {})
    inputs, [expected] = found.batch(np.array([3, 7]))
    assert np.array_equal(expected, logits(inputs[0]))


def test_labels_and_the_original_can_share_the_loss(tmp_path: Path) -> None:
    targets = load(tmp_path, ArrayModel(out=softmax), {"y": classes(4)}, share=0.25).targets
    assert [(target.loss, target.share) for target in targets] == [
        (Loss.TEACHER, 0.25),
        (Loss.CLASSES, 0.75),
    ]


def test_outputs_that_are_no_floats_are_not_trained(tmp_path: Path) -> None:
    both = {"score": softmax, "decision": lambda x: softmax(x).argmax(axis=-1)}
    labels = {"score": classes(4), "decision": classes(4)}
    targets = load(tmp_path, ArrayModel(batch=-1, **both), labels).targets
    assert [target.output for target in targets] == ["score"]
    with pytest.raises(DataError, match="no output of the model is of a float dtype") as caught:
        load(tmp_path, ArrayModel(batch=-1, decision=both["decision"]), {})
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


NAN = np.full((ROWS, 4), np.nan, np.float32)


@pytest.mark.parametrize(
    ("model", "arrays", "said"),
    [
        (ArrayModel(out=softmax), {"y": classes(4) + 1}, "labels of output out: labels are from 1 to 4"),
        (ArrayModel(out=softmax), {"y": classes(4)[:5]}, "same number of rows: x has 20, y of out has 5"),
        (ArrayModel(out=softmax), {"y": np.ones((ROWS, 3), int)}, "labels have shape"),
        (ArrayModel(out=softmax), {"y": np.full((ROWS, 4), 2)}, "neither 0 and 1 nor of a float dtype"),
        (ArrayModel(out=softmax), {"y": np.full(ROWS, 2.0)}, "classes need an integer dtype"),
        (ArrayModel(out=sigmoid), {"y": classes(9)}, "values to meet need a float dtype"),
        (ArrayModel(out=logits), {"y": NAN}, "array y, row 0: nan is not a finite number"),
        (ArrayModel(out=logits), {"x": NAN}, "array x, row 0: nan is not a finite number"),
        (ArrayModel(out=logits), {"x": np.ones((3, 5), np.float32)}, "input x has shape"),
        (ArrayModel(out=lambda x: x * np.inf), {}, "output out of the original model is NaN or infinite"),
        (ArrayModel(batch=32, out=softmax), {}, "has 20 rows, the model takes batches of 32"),
    ],
)
def test_data_that_does_not_fit_is_refused_with_its_key(
    tmp_path: Path, model: ArrayModel, arrays: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        load(tmp_path, model, arrays)
    assert caught.value.reason is Reason.INVALID_DATA
    assert caught.value.message.startswith("data.training: ")
    assert "\n" not in caught.value.message


def test_rows_beyond_those_that_tell_the_loss_are_computed_once(tmp_path: Path) -> None:
    def looks_up(x: Array) -> Array:
        if x.max() >= 5:
            raise ComputationError(f"indices = {x.max():g} is not in [0, 5)")
        return np.asarray(np.eye(5, dtype=np.float32)[x[:, 0].astype(int)])

    x = np.zeros((3000, 4), np.float32)
    x[2500, 1] = 7
    path = tmp_path / "train.npz"
    np.savez(path, x=x, y=np.zeros(3000, np.int64))
    said = r"^data\.training: train\.npz: row 2500: the model does not compute it: indices = 7 is not in"
    with pytest.raises(DataError, match=said) as caught:
        training_data.load(path, tmp_path / "work", cast(LoadedModel, ArrayModel(out=looks_up)))
    assert caught.value.reason is Reason.INVALID_DATA
