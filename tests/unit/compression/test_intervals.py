"""Confidence intervals against scipy's formulas, and what they promise: to hold the truth 95 times in 100."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modelpress.compression.evaluation import intervals, metrics

random = np.random.default_rng(5)


@given(st.integers(1, 5000), st.floats(0, 1))
@settings(max_examples=100)
def test_wilson_is_that_of_scipy(rows: int, share: float) -> None:
    successes = round(rows * share)
    expected = stats.binomtest(successes, rows).proportion_ci(0.95, method="wilson")
    found = intervals.wilson(successes, rows)
    assert found.bounds == pytest.approx((100 * expected.low, 100 * expected.high))


@given(st.integers(2, 500), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_the_interval_of_a_mean_is_that_of_scipy(rows: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(0, 60, rows)
    expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    found = intervals.of_mean(values)
    assert found is not None
    assert found.bounds == pytest.approx(expected)
    other = np.random.default_rng(seed + 1).uniform(0, 60, rows)
    paired = intervals.of_mean_drop(values, other)
    assert paired is not None
    difference = values - other
    assert paired.bounds == pytest.approx(stats.norm.interval(0.95, difference.mean(), stats.sem(difference)))


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 500))
def test_bonett_price_is_wald_with_one_pair_more_of_each_kind(lost: int, won: int, same: int) -> None:
    rows = lost + won + same
    differences = np.concatenate([np.full(lost + 1, 100.0), np.full(won + 1, -100.0), np.zeros(same)])
    expected = stats.norm.interval(0.95, differences.mean(), differences.std() / np.sqrt(rows + 2))
    found = intervals.bonett_price(lost, won, rows)
    assert found.bounds == pytest.approx(np.clip(expected, -100, 100))


def test_decisions_that_did_not_change_still_leave_doubt() -> None:
    same = np.full(540, 100.0)
    found = intervals.of_decisions_drop(same, same)
    assert found is not None
    assert found.low == pytest.approx(-found.high)
    assert 0.4 < found.high < 0.6
    assert found.method == intervals.BONETT_PRICE


def test_rows_of_unlike_weights_that_did_not_change_still_leave_doubt() -> None:
    same = np.tile([70.0, 130.0, 100.0], 180)
    found = intervals.of_decisions_drop(same, same)
    assert found == intervals.of_decisions_drop(np.full(540, 100.0), np.full(540, 100.0))


def test_one_row_allows_no_interval_of_a_mean_or_a_drop() -> None:
    one = np.array([30.0])
    assert intervals.of_mean(one) is None
    assert intervals.of_mean_drop(one, one) is None
    assert intervals.of_decisions_drop(np.array([100.0]), np.array([0.0])) is None


def test_rows_of_several_positions_are_means() -> None:
    rows = np.array([100.0, 50.0, 100.0, 75.0])
    found = intervals.of_decisions(rows)
    assert found == intervals.of_mean(rows)
    assert found is not None
    assert found.method == intervals.NORMAL


@pytest.mark.parametrize("rows", [60, 540])
def test_the_paired_interval_holds_the_true_drop_95_times_in_100(rows: int) -> None:
    hits, runs = 0, 2000
    for _ in range(runs):
        before = np.where(random.random(rows) < 0.95, 100.0, 0.0)
        after = np.where(random.random(rows) < 0.03, 0.0, before)
        found = intervals.of_decisions_drop(before, after)
        assert found is not None
        hits += found.low <= 100 * 0.95 * 0.03 <= found.high
    assert hits / runs >= 0.935


def test_the_interval_of_r2_holds_the_true_score_and_agrees_with_the_bootstrap() -> None:
    labels = random.normal(size=(400, 2))
    outputs = labels + random.normal(size=(400, 2)) * [0.4, 0.8]
    found = intervals.of_mean(metrics.r2_rows(labels, outputs))
    assert found is not None
    assert found.low < 100 * (1 - (0.16 + 0.64) / 2) < found.high
    picks = random.integers(0, 400, (1500, 400))
    resampled = [metrics.r2_rows(labels[pick], outputs[pick]).mean() for pick in picks]
    low, high = np.percentile(resampled, [2.5, 97.5])
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)
