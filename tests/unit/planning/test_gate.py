"""The gate's arithmetic is exact."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.conditions import Reason
from modelpress.api.contract import Scores
from modelpress.api.spec import Evaluation, Metric
from modelpress.planning.artifacts import gate


def measured(original: float, compressed: float) -> gate.Measured:
    scores = Scores(metric=Metric.ACCURACY, original=original, compressed=compressed, rows=360)
    return gate.measured(scores)


@pytest.mark.parametrize(
    ("limits", "original", "compressed", "passes"),
    [
        ({"min_score": "92%"}, 97.0, 92.0, True),
        ({"min_score": "92%"}, 97.0, 91.999999, False),
        ({"min_score": "-5%"}, -1.0, -4.5, True),
        ({"min_score": "100%"}, 100.0, 100.0, True),
        ({"min_score": "100%"}, 100.0, 99.722222, False),
        ({"max_drop": "0.5%"}, 97.5, 97.0, True),
        ({"max_drop": "0.3%"}, 0.3, 0.0, True),  # 0.3 - 0.0 and 0.1 + 0.2 are not equal in binary
        ({"max_drop": "0.3%"}, 100.0, 99.7, True),
        ({"max_drop": "0.3%"}, 100.0, 99.699999, False),
        ({"max_drop": "0%"}, 97.0, 98.0, True),
        ({"max_drop": "0%"}, 97.0, 96.9, False),
    ],
)
def test_scores_against_limits(
    limits: dict[str, str], original: float, compressed: float, passes: bool
) -> None:
    verdict = gate.judge(Evaluation(**limits), measured(original, compressed), 1)
    assert (verdict is None) is passes


@pytest.mark.parametrize(("size", "passes"), [(20 * 2**20, True), (20 * 2**20 + 1, False), (None, False)])
def test_size_against_its_limit(size: int | None, passes: bool) -> None:
    verdict = gate.judge(Evaluation(max_size="20Mi"), None, size)
    assert (verdict is None) is passes


def test_every_missed_limit_is_named_in_one_message() -> None:
    limits = Evaluation(min_score="92%", max_drop="0.5%", max_size="1k")
    verdict = gate.judge(limits, measured(97.0, 91.0), 1001)
    assert verdict is not None
    assert verdict.reason is Reason.EVALUATION_FAILED
    assert verdict.message == (
        "minScore: Accuracy is 91%, below 92%; "
        "maxDrop: Accuracy drops by 6% (from 97% to 91%), more than 0.5%; "
        "maxSize: the model has 1001 bytes, above 1k (1000)"
    )


def test_the_drop_of_the_output_that_lost_most_counts() -> None:
    scores = Scores(metric=Metric.ACCURACY, original=94, compressed=95, drop=4, rows=360)
    verdict = gate.judge(Evaluation(max_drop="1%"), gate.measured(scores), 1)
    assert verdict is not None
    assert verdict.message == "maxDrop: Accuracy drops by 4% (the output that lost most), more than 1%"


def test_a_limit_without_a_score_is_missed_and_no_limits_are_met() -> None:
    assert gate.judge(Evaluation(min_score="1%"), None, 1) is not None
    assert gate.judge(None, None, None) is None


@given(
    st.floats(-100, 100, allow_nan=False),
    st.floats(-100, 100, allow_nan=False),
    st.decimals(0, 100, places=6, allow_nan=False),
)
def test_the_verdict_is_the_one_that_the_shown_numbers_give(
    original: float, compressed: float, limit: Decimal
) -> None:
    scores = measured(original, compressed)
    shown = Decimal(gate.percent(scores.original)[:-1]) - Decimal(gate.percent(scores.compressed)[:-1])
    assert shown == scores.drop == Decimal(gate.percent(scores.drop)[:-1])
    verdict = gate.judge(Evaluation(max_drop=f"{limit:f}%"), scores, 1)
    assert (verdict is None) is (shown <= limit)
    assert all(len(gate.percent(value)) <= 16 for value in (scores.original, scores.compressed, scores.drop))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_what_is_no_score_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not a score"):
        measured(value, 1.0)


def test_a_bottomless_score_is_bounded() -> None:
    assert measured(99.0, -1e300).compressed == Decimal(-9999)
