"""What ruins a model is told without data."""

from dataclasses import dataclass

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression.evaluation import damage
from modelpress.compression.report.document import EpochReport, PassReport, TensorReport, TrainingReport
from modelpress.models.types import Array, Role


@dataclass
class Stored:
    values: Array
    name: str = "dense/kernel"
    role: Role = Role.KERNEL

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> str:
        return str(self.values.dtype)

    def read(self) -> Array:
        return self.values

    def write(self, values: Array) -> None:
        raise AssertionError


def tuned(*losses: float) -> PassReport:
    epochs = tuple(
        EpochReport(epoch=number, learning_rate=0.1, loss=loss) for number, loss in enumerate(losses)
    )
    training = TrainingReport(
        learning_rate=0.1, by_formula=False, batch=1, layers=1, parameters=1, rows=1, losses={}, epochs=epochs
    )
    return PassReport(name="fineTuning", training=training, tensors=())


def pruned(changed: int) -> PassReport:
    tensor = TensorReport(name="dense/kernel", shape=(4,), elements=4, changed=changed)
    return PassReport(name="pruning", tensors=(tensor,))


@pytest.mark.parametrize("role", [Role.KERNEL, Role.BIAS, Role.STATISTICS, Role.EMBEDDING])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_named(role: Role, value: float) -> None:
    weights = [Stored(np.ones(9), "fine"), Stored(np.array([1.0, value, 2.0]), "broken/weight", role)]
    with pytest.raises(DataError, match=f"{role.value} broken/weight is NaN or infinite in 1 of 3") as caught:
        damage.check_weights(weights)
    assert caught.value.reason is Reason.INVALID_MODEL
    damage.check_weights([Stored(np.array([value]), "mask", Role.OTHER)])


def test_a_kernel_that_nothing_is_left_of_is_named() -> None:
    zero = Stored(np.zeros(4))
    assert list(damage.of_passes([pruned(4)], [zero])) == [
        "kernel dense/kernel: all its elements became zero"
    ]
    assert list(damage.of_passes([pruned(0)], [zero])) == []  # it was zero before
    assert list(damage.of_passes([pruned(3)], [Stored(np.array([0.0, 0, 0, 1]))])) == []


def test_a_loss_that_rose_is_told() -> None:
    assert list(damage.of_passes([tuned(0.25, 0.1, 9)], [])) == [
        "fineTuning: the loss rose from 0.25 to 9; choose a smaller learningRate"
    ]
    assert list(damage.of_passes([tuned(0.25, 0.3, 0.2)], [])) == []


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_an_output_that_became_constant_is_named(dtype: type) -> None:
    original: Array = np.arange(24).reshape(6, 2, 2).astype(dtype)
    constant = np.repeat(original[:1], 6, axis=0)
    found = damage.of_outputs({"a": original, "b": original}, {"a": constant, "b": original})
    assert list(found) == [
        "output a of the compressed model is the same for all 6 rows of the sample;"
        " that of the original is not"
    ]
    assert list(damage.of_outputs({"a": constant}, {"a": constant})) == []


def test_an_output_that_lost_its_meaning_is_named() -> None:
    random = np.random.default_rng(0)
    scores, ids = random.standard_normal((32, 5, 4)).astype(np.float32), random.integers(0, 9, 32)
    constant = np.ones((32, 2), np.float32)
    before: dict[str, Array] = {"scores": scores, "ids": ids, "constant": constant}
    near: dict[str, Array] = {
        "scores": scores + np.float32(0.1),
        "ids": np.where(np.arange(32) < 20, ids, 9),
        "constant": constant * 2,
    }
    assert list(damage.of_distance(before, near)) == []
    hardly_varies = {"y": 100 + scores}
    assert list(damage.of_distance(hardly_varies, {"y": 100 - scores})) == []
    assert len(list(damage.of_distance(hardly_varies, {"y": 50 - scores}))) == 1
    far: dict[str, Array] = {
        "scores": -scores,
        "ids": np.where(np.arange(32) < 8, ids, 9),
        "constant": constant * 2,
    }
    assert [line.split(" of the variation")[0] for line in damage.of_distance(before, far)] == [
        "output scores of the compressed model keeps 0%",
        "output ids of the compressed model keeps 25%",
    ]
