"""The L0 penalty over groups of channels: the step against plain numpy, and training on real digits."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.spec import FineTuning
from modelpress.compression.passes.base import PassContext
from modelpress.compression.passes.channels import members
from modelpress.compression.passes.channels.group_threshold import GroupThreshold
from modelpress.compression.passes.channels.l0 import ChannelL0Penalty
from modelpress.compression.passes.channels.members import Member, MemberLayout
from modelpress.compression.passes.l0 import objective
from modelpress.compression.passes.training import training_data
from modelpress.compression.passes.training.training_data import TrainingData
from modelpress.compression.report.document import EpochReport, PassReport
from modelpress.models.load import load
from modelpress.models.types import LoadedModel
from tests.support.models.trained import Digits, DigitsModels

Loaded = tuple[LoadedModel, TrainingData]
Opener = Callable[[Path], Loaded]
SETTINGS = FineTuning(epochs=4, learning_rate="0.005")


@pytest.fixture
def opened(digits_models: DigitsModels, tmp_path: Path) -> Opener:
    """Load a model anew, with the digits as data.training."""

    def open_model(path: Path) -> Loaded:
        model = load(path, tmp_path)
        digits = digits_models.digits
        shape = model.inputs[0].shape[1:]
        np.savez(tmp_path / "train.npz", x=digits.train_x.reshape(-1, *shape), y=digits.train_y)
        return model, training_data.load(tmp_path / "train.npz", tmp_path / "data", model, distillation=0.5)

    return open_model


def outputs(model: LoadedModel, digits: Digits) -> Any:
    [spec], [output] = model.inputs, model.outputs
    return model.call({spec.name: digits.test_x.reshape(-1, *spec.shape[1:])})[output.name]


def accuracy(model: LoadedModel, digits: Digits) -> float:
    return 100 * float((outputs(model, digits).argmax(axis=1) == digits.test_y).mean())


def epochs(report: PassReport) -> tuple[EpochReport, ...]:
    assert report.training is not None
    return report.training.epochs


def parameters(model: LoadedModel) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.weights)


def test_the_objective_falls_and_a_larger_penalty_makes_a_smaller_model(
    digits_models: DigitsModels, opened: Opener
) -> None:
    sizes = []
    for penalty in ("1e-3", "0.03", "0.1"):
        model, data = opened(digits_models.functional)
        before = accuracy(model, digits_models.digits)
        smaller, report = ChannelL0Penalty(penalty, SETTINGS).apply(model, PassContext(data))
        course = epochs(report)
        assert all(after <= previous for previous, after in pairwise(map(objective, course)))
        assert objective(course[-1]) < objective(course[0])
        assert course[-1].objective == pytest.approx(
            course[-1].loss + float(penalty) * (course[-1].nonzero or 0)
        )
        assert accuracy(smaller, digits_models.digits) > before - 1.5
        sizes.append(parameters(smaller))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 1.5


def residual(folder: Path, digits: Digits) -> Path:
    """Return a network whose biases, normalizations and additions go on where kernels are zero."""
    keras.utils.set_random_seed(0)
    image = x = keras.Input((8, 8, 1), name="image")
    x = short = kl.ReLU()(kl.BatchNormalization(momentum=0.9)(kl.Conv2D(16, 3, padding="same")(x)))
    x = kl.BatchNormalization(momentum=0.9)(kl.DepthwiseConv2D(3, padding="same")(kl.ReLU()(x)))
    x = kl.Add()([kl.Conv2D(16, 3, padding="same", activation="sigmoid")(x), short])
    x = kl.Flatten()(kl.MaxPooling2D(2)(kl.Concatenate()([x, kl.Conv2D(8, 1, activation="tanh")(x)])))
    x = kl.Dense(10, activation="softmax", name="digit")(kl.Dense(32, activation="relu")(x))
    model = keras.Model(image, x)
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(digits.train_x.reshape(-1, 8, 8, 1), digits.train_y, epochs=4, batch_size=64, verbose=0)
    model.save(folder / "residual.keras")
    return folder / "residual.keras"


def test_removing_what_became_zero_changes_no_output(
    digits_models: DigitsModels, opened: Opener, tmp_path: Path
) -> None:
    model, data = opened(residual(tmp_path, digits_models.digits))
    smaller, report = ChannelL0Penalty("0.05", SETTINGS).apply(model, PassContext(data))
    removed = {
        tensor.name: tensor.facts["outputChannelsBefore"] - tensor.facts["outputChannelsAfter"]
        for tensor in report.tensors
        if "outputChannelsBefore" in tensor.facts
    }
    assert sum(count > 0 for count in removed.values()) >= 3, removed
    assert parameters(smaller) < parameters(model)
    np.testing.assert_allclose(
        outputs(smaller, digits_models.digits), outputs(model, digits_models.digits), atol=2e-6
    )
    assert {weight.name for weight in smaller.weights} == {weight.name for weight in model.weights}
    left = {weight.name: weight for weight in smaller.weights}
    for tensor in report.tensors:
        if tensor.bytes_after is not None:
            assert 4 * int(np.prod(left[tensor.name].shape)) == tensor.bytes_after


def test_the_report_names_the_distillation(digits_models: DigitsModels, opened: Opener) -> None:
    model, data = opened(digits_models.functional)
    _, report = ChannelL0Penalty("1e-3", FineTuning(epochs=1)).apply(model, PassContext(data))
    assert report.parameters["granularity"] == "Channel"
    assert report.training is not None
    assert report.training.losses == {
        "digit": "0.5 x cross-entropy to the original's probabilities, against the original's outputs;"
        " 0.5 x sparse categorical cross-entropy, against labels"
    }


def test_a_saved_model_is_refused(digits_models: DigitsModels, opened: Opener) -> None:
    model, data = opened(digits_models.saved_model)
    with pytest.raises(DataError, match=r"needs layers: bring a \.keras or \.h5 file") as caught:
        ChannelL0Penalty("1e-3", SETTINGS).apply(model, PassContext(data))
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL


# Two layers, (3, 4) and (4, 2): four groups of a column and a row each; the bias goes along.
FIRST, BIAS, SECOND = 0, 1, 2
CHAIN = MemberLayout(
    members=(
        Member(FIRST, {-1: np.arange(4, dtype=np.int32)}, counted=True),
        Member(BIAS, {-1: np.arange(4, dtype=np.int32)}, counted=False),
        Member(SECOND, {-2: np.arange(4, dtype=np.int32)}, counted=True),
    ),
    classes=np.zeros(4, np.int32),
    ids=(7, 8, 9, 10),
)


def test_a_group_is_kept_by_the_sum_over_all_of_its_elements() -> None:
    random = np.random.default_rng(0)
    shapes = {FIRST: (3, 4), BIAS: (4,), SECOND: (4, 2)}
    for _ in range(20):
        values = {i: random.normal(size=shape).astype(np.float32) for i, shape in shapes.items()}
        sizes = {i: random.uniform(0.1, 1, shape).astype(np.float32) for i, shape in shapes.items()}
        penalty = float(random.uniform(0.5, 3))
        before = [tf.Variable(np.ones(shape, np.float32)) for shape in shapes.values()]
        found = GroupThreshold(CHAIN, before)(values, sizes, penalty)
        energy = (values[FIRST] ** 2 / sizes[FIRST]).sum(axis=0)
        energy += (values[SECOND] ** 2 / sizes[SECOND]).sum(axis=1)
        keep = energy > 2 * penalty * 5
        keep[energy.argmax()] = True
        np.testing.assert_array_equal(found[FIRST], values[FIRST] * keep)
        np.testing.assert_array_equal(found[BIAS], values[BIAS] * keep)
        np.testing.assert_array_equal(found[SECOND], values[SECOND] * keep[:, None])


def test_elements_shared_with_a_group_that_is_gone_do_not_count() -> None:
    """The kernel between two groups: with one channel of three gone, each of the others saves two thirds."""
    layout = MemberLayout(
        members=(Member(0, {-2: np.arange(3, dtype=np.int32), -1: np.array([3, 4, 5], np.int32)}, True),),
        classes=np.array([0, 0, 0, 1, 1, 1], np.int32),
        ids=tuple(range(6)),
    )
    before = np.ones((3, 3), np.float32)
    before[:, 2] = 0
    values = np.array([[1, 1, 0], [1, 1, 0], [0.5, 0.5, 0]], np.float32)
    for penalty, rows in ((0.45, [True, True, False]), (0.55, [True, True, False]), (0.1, [True] * 3)):
        found = GroupThreshold(layout, [tf.Variable(before)])({0: values}, {0: np.ones((3, 3), "f")}, penalty)
        assert [bool(row.any()) for row in np.asarray(found[0])] == rows


def test_a_class_never_loses_all_of_its_groups() -> None:
    values = {FIRST: np.full((3, 4), 1e-3, np.float32), SECOND: np.zeros((4, 2), np.float32)}
    values[FIRST][:, 2] = 2e-3
    sizes = {i: np.ones_like(value) for i, value in values.items()}
    before = [tf.Variable(np.ones(shape, np.float32)) for shape in ((3, 4), (4,), (4, 2))]
    found = GroupThreshold(CHAIN, before)(values, sizes, 1.0)
    assert np.flatnonzero(np.asarray(found[FIRST]).any(axis=0)).tolist() == [2]
    nothing = {i: np.zeros_like(value) for i, value in values.items()}
    assert members.alive(CHAIN, nothing) == [False] * 4
    assert CHAIN.gone([True] * 4) == {8, 9, 10}
    assert CHAIN.gone([False, True, True, False]) == {8, 9}
