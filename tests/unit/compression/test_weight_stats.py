"""Histograms of weights: the same bins before and after, and integers as the numbers they stand for."""

import numpy as np
import pytest

from modelpress.compression.evaluation import weight_stats
from modelpress.compression.formats.litert.tflite_file import Constant
from modelpress.models.types import Array, Role
from tests.support.models.variables import Variable

random = np.random.default_rng(2)


def kernel(name: str, value: Array) -> Variable:
    return Variable(name, Role.KERNEL, value.astype(np.float32))


def test_both_histograms_have_the_same_bins_and_values_beyond_go_to_the_ends() -> None:
    values = random.normal(size=(30, 20))
    before = weight_stats.before([kernel("a", values), Variable("b", Role.BIAS, np.ones(3))])
    assert [item.name for item in before] == ["a"]
    assert before[0].before == tuple(np.histogram(values.astype(np.float32), bins=weight_stats.BINS)[0])
    doubled = weight_stats.compared(before, iter([("a", values * 2), ("c", values)]))
    assert len(doubled) == 1
    after = doubled[0].after
    assert after is not None
    assert sum(after) == sum(before[0].before) == 600
    assert after[0] >= (values * 2 < values.min()).sum()


def test_tensors_without_a_counterpart_have_no_second_histogram() -> None:
    before = weight_stats.before([kernel("a", random.normal(size=(4, 4)))])
    assert weight_stats.compared(before, iter([]))[0].after is None


def test_one_value_only_and_no_numbers() -> None:
    single = weight_stats.before([kernel("a", np.full((3, 3), 0.5))])
    assert sum(single[0].before) == 9
    assert weight_stats.before([kernel("a", np.array([[np.nan, 1.0]]))]) == ()


def test_the_largest_tensors_are_kept_in_the_order_of_the_model() -> None:
    weights = [kernel(f"w{i}", random.normal(size=(1 + i % 70, 2))) for i in range(100)]
    found = weight_stats.before(weights)
    assert len(found) == weight_stats.MAX_TENSORS
    numbers = [int(item.name[1:]) for item in found]
    assert numbers == sorted(numbers)
    assert 0 not in numbers


def constant(values: Array, scale: list[float], zero_point: list[int], axis: int = 0) -> Constant:
    return Constant(
        name="c",
        values=values,
        dtype=values.dtype.name,
        stored_bytes=values.nbytes,
        scale=np.array(scale),
        zero_point=np.array(zero_point),
        axis=axis,
    )


def test_integers_are_told_as_the_numbers_they_stand_for() -> None:
    q = np.array([[1, -2, 3], [4, 5, -6]], dtype=np.int8)
    by_row = weight_stats.dequantized(constant(q, [0.5, 2.0], [0, 1]))
    assert by_row == pytest.approx(np.array([[0.5, -1.0, 1.5], [6.0, 8.0, -14.0]]))
    by_column = weight_stats.dequantized(constant(q, [1.0, 2.0, 3.0], [0, 0, 0], axis=1))
    assert by_column == pytest.approx(q * np.array([1.0, 2.0, 3.0]))
    whole = weight_stats.dequantized(constant(q, [0.25], [2]))
    assert whole == pytest.approx((q - 2.0) * 0.25)
    assert weight_stats.dequantized(constant(q, [1.0, 2.0, 3.0], [0, 0, 0])) is None
    floats = np.ones((2, 2), np.float16)
    assert weight_stats.dequantized(constant(floats, [], [])) is floats
