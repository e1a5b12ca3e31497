"""Groups of operators and the error of outputs; trials of real operators are in test_mixtures."""

import numpy as np
import pytest

from modelpress.compression.auto import mixtures, sensitivity
from modelpress.compression.evaluation import metrics
from modelpress.compression.formats.base import Operator


def operators(*sizes: int) -> list[Operator]:
    return [Operator(f"op{i}", "CONV_2D", (f"op{i};",), size) for i, size in enumerate(sizes)]


def test_few_operators_are_tried_alone() -> None:
    assert sensitivity.groups(operators(1, 2, 3), 3) == [(item,) for item in operators(1, 2, 3)]


@pytest.mark.parametrize("sizes", [(1,) * 100, (1000, *(1,) * 99), tuple(range(100)), (0,) * 40])
def test_many_operators_are_grouped_with_their_neighbours(sizes: tuple[int, ...]) -> None:
    every = operators(*sizes)
    groups = sensitivity.groups(every, 16)
    assert 1 <= len(groups) <= 16
    assert [item for group in groups for item in group] == every


def test_groups_have_about_equal_bytes() -> None:
    groups = sensitivity.groups(operators(*(1,) * 160), 16)
    assert [len(group) for group in groups] == [10] * 16


def test_the_error_is_that_of_the_worst_output() -> None:
    expected = {"a": np.array([3.0, 4.0]), "b": np.array([1.0, 0.0])}
    found = {"a": np.array([3.0, 4.5]), "b": np.array([1.0, 0.01])}
    assert metrics.relative_error(expected, found) == pytest.approx(0.1)
    assert metrics.relative_error(expected, expected) == 0
    assert metrics.relative_error(expected, {**found, "a": np.array([np.nan, 0])}) == sensitivity.WORST


@pytest.mark.parametrize(
    ("groups", "counts"), [(0, []), (1, []), (2, [1]), (3, [1]), (4, [1, 2, 3]), (16, [1, 3, 8])]
)
def test_one_three_and_half_of_the_groups_are_exceptions(groups: int, counts: list[int]) -> None:
    assert mixtures.counts(groups) == counts
