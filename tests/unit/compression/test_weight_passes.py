"""Pruning and clipping of single tensors, and what is left alone. No TensorFlow: a model is its weights."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.compression.passes.base import PassContext
from modelpress.compression.passes.clip import ValueClipping, clip
from modelpress.compression.passes.prune import ElementPruning, prune
from modelpress.models.types import Array, LoadedModel, Role


@dataclass
class Tensor:
    name: str
    role: Role
    value: Array
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def read(self) -> Array:
        return self.value.copy()

    def write(self, value: Array) -> None:
        self.value = value


@dataclass
class Weights:
    weights: list[Tensor] = field(default_factory=list)


def model_of(*tensors: Tensor) -> LoadedModel:
    return cast(LoadedModel, Weights(list(tensors)))


def kernel(*values: float) -> Tensor:
    return Tensor("dense/kernel", Role.KERNEL, np.array([values], np.float32))


@given(st.integers(1, 500), st.decimals(0, Decimal("0.99"), places=4), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_exactly_the_given_share_goes_and_the_rest_stays(size: int, share: Decimal, seed: int) -> None:
    values: Array = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    pruned, facts = prune(values, share)
    zeros = pruned == 0
    assert zeros.sum() == int(size * share)
    assert np.array_equal(pruned[~zeros], values[~zeros])
    if 0 < zeros.sum() < size:
        assert np.abs(values[zeros]).max() <= np.abs(values[~zeros]).min()
        assert facts["threshold"] == pytest.approx(float(np.abs(values[zeros]).max()))


def test_of_equal_magnitudes_the_first_go() -> None:
    pruned, _ = prune(np.array([[1, -1], [1, -1]], np.float32), Decimal("0.5"))
    assert pruned.tolist() == [[0, 0], [1, -1]]


@pytest.mark.parametrize("percent", [29, 57, 58])
def test_a_share_that_no_float_holds_is_exact(percent: int) -> None:
    tensor = kernel(*range(1, 101))
    _, report = ElementPruning(f"{percent}%").apply(model_of(tensor), PassContext())
    assert report.tensors[0].changed == percent


def test_the_smallest_magnitudes_go_whatever_their_sign() -> None:
    pruned, facts = prune(np.array([-3, 0.5, 2, -0.1], np.float32), Decimal("0.5"))
    assert pruned.tolist() == [-3, 0, 2, 0]
    assert facts == {"sparsityBefore": 0.0, "threshold": 0.5, "sparsity": 0.5}


def test_zero_percent_changes_nothing() -> None:
    tensor = kernel(1, 2, 3)
    _, report = ElementPruning("0%").apply(model_of(tensor), PassContext())
    assert tensor.value.tolist() == [[1, 2, 3]]
    assert report.tensors[0].changed == 0


def test_clipping_bounds_values_and_tells_the_range_before() -> None:
    clipped, facts = clip(np.array([-3, 0.5, 2], np.float32), -1, 1)
    assert clipped.tolist() == [-1, 0.5, 1]
    assert clipped.dtype == np.float32
    assert facts == {"smallest": -3.0, "largest": 2.0}
    assert clip(np.array([0.5, 2], np.float32), -1, 1)[1] == {"smallest": 0.5, "largest": 2.0}
    assert clip(np.zeros(0, np.float32), -1, 1)[1] == {}


def test_only_kernels_and_embeddings_are_changed_and_the_rest_is_reported() -> None:
    others = [role for role in Role if role not in (Role.KERNEL, Role.EMBEDDING)]
    tensors = [Tensor(role.value, role, np.full((2, 2), 5, np.float32)) for role in Role]
    _, report = ValueClipping("-1", "1e0").apply(model_of(*tensors), PassContext())
    assert {tensor.name: tensor.value.max() for tensor in tensors} == {
        role.value: 5.0 if role in others else 1.0 for role in Role
    }
    assert [tensor.name for tensor in report.tensors] == [role.value for role in Role]
    assert {tensor.name for tensor in report.tensors if tensor.skipped} == {role.value for role in others}
    assert report.parameters == {"min": "-1", "max": "1e0"}


def test_pruned_zeros_survive_clipping() -> None:
    tensor = kernel(-3, 0.5, 2, -0.1)
    for step in (ElementPruning("50%"), ValueClipping("-1", "1")):
        step.apply(model_of(tensor), PassContext())
    assert tensor.value.tolist() == [[-1, 0, 1, 0]]


@pytest.mark.parametrize(
    "step", [ElementPruning("50%"), ValueClipping("-1", "1")], ids=lambda step: step.name
)
def test_a_model_without_kernels_cannot_be_changed(step: Any) -> None:
    with pytest.raises(DataError) as caught:
        step.apply(model_of(Tensor("b", Role.BIAS, np.ones(3, np.float32))), PassContext())
    assert caught.value.reason is Reason.UNSUPPORTED_MODEL
    assert step.name in caught.value.message
