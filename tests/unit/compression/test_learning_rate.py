"""The learning-rate formula and the course of rate and penalty."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.compression.passes.training.learning_rate import LearningRate, choose, decay, formula, ramp


@pytest.mark.parametrize(
    ("batch", "layers", "parameters", "value"),
    [(1, 1, 1, 0.01), (100, 1, 1, 0.001), (1, 16, 1, 0.005), (1, 1, 10**10, 0.001), (4, 16, 2**10, 0.00125)],
)
def test_the_formula(batch: int, layers: int, parameters: int, value: float) -> None:
    assert formula(batch, layers, parameters) == pytest.approx(value)


def test_the_formula_holds_where_the_spec_sets_no_rate() -> None:
    numbers = {"batch": 32, "layers": 3, "parameters": 6570}
    assert choose(None, **numbers) == LearningRate(formula(32, 3, 6570), 32, 3, 6570, given=False)
    assert choose(0.5, **numbers) == LearningRate(0.5, 32, 3, 6570, given=True)


@given(st.integers(1, 2000))
def test_the_rate_falls_and_the_penalty_rises_around_seventy_percent(steps: int) -> None:
    rates = [decay(step, steps) for step in range(steps)]
    penalties = [ramp(step, steps) for step in range(steps)]
    assert rates == sorted(rates, reverse=True)
    assert penalties == sorted(penalties)
    assert rates[0] == 1
    assert 0 < rates[-1] <= 1
    assert penalties[0] > 0
    assert penalties[-1] == 1
    assert all(rate == 1 for rate, penalty in zip(rates, penalties, strict=True) if penalty < 1)
