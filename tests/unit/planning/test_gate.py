"""The gate's arithmetic is exact."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.conditions import Reason
from modelpress.api.contract import OutputScores, Scores
from modelpress.api.evaluation import Evaluation, Metric, OutputEvaluation
from modelpress.api.status import RevisionReference, Status
from modelpress.planning.artifacts import artifact as artifacts
from modelpress.planning.artifacts import gate
from modelpress.planning.artifacts.artifact import Artifact, StoreLocation


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


def outputs(**compressed: tuple[Metric, float]) -> Scores:
    return Scores(
        metric=Metric.ACCURACY,
        original=100,
        compressed=min(score for _, score in compressed.values()),
        rows=10,
        outputs=tuple(
            OutputScores(name=name, metric=metric, original=100, compressed=score)
            for name, (metric, score) in compressed.items()
        ),
    )


def test_each_output_is_judged_by_its_own_limits_completed_by_those_for_all() -> None:
    own = (
        OutputEvaluation(name="price", metric=Metric.R2, min_score="80%"),
        OutputEvaluation(name="aux", max_drop="60%"),
    )
    limits = Evaluation(min_score="95%", max_drop="3%", outputs=own)
    found = outputs(kind=(Metric.ACCURACY, 96), price=(Metric.R2, 96), aux=(Metric.AUC, 50))
    verdict = gate.judge(limits, gate.measured(found), 1)
    assert verdict is not None
    assert verdict.message == (
        "output price: maxDrop: R2 drops by 4% (from 100% to 96%), more than 3%; "
        "output aux: minScore: AUC is 50%, below 95%; "
        "output kind: maxDrop: Accuracy drops by 4% (from 100% to 96%), more than 3%"
    )
    loose = limits.model_copy(update={"min_score": None, "max_drop": "5%"})
    assert gate.judge(loose, gate.measured(found), 1) is None


def test_an_output_without_a_score_misses_its_limits() -> None:
    limits = Evaluation(outputs=(OutputEvaluation(name="b", min_score="1%"),))
    verdict = gate.judge(limits, gate.measured(outputs(a=(Metric.R2, 100))), 1)
    assert verdict is not None
    assert verdict.message == "output b: evaluation: the artifact has no score"
    assert gate.judge(Evaluation(outputs=(OutputEvaluation(name="b"),)), None, 1) is None


def test_scores_of_outputs_are_kept_in_a_revision_and_in_the_status() -> None:
    found = gate.measured(outputs(a=(Metric.R2, -12.5), b=(Metric.F1, 99.25)))
    stored = Artifact("r", "s", "d", StoreLocation("oci://r/m"), scores=found)
    assert artifacts.from_data(json.loads(json.dumps(stored.to_data()))) == stored
    shown = Status.model_validate(
        {
            "evaluation": {
                "metric": "Accuracy",
                "original": "100%",
                "compressed": "-12.5%",
                "outputs": [
                    {"name": "a", "metric": "R2", "original": "100%", "compressed": "-12.5%"},
                    {"name": "b", "metric": "F1", "original": "100%", "compressed": "99.25%"},
                ],
            }
        }
    )
    reference = RevisionReference(recipe_hash="r", source_digest="s", artifact_digest="d")
    again = artifacts.from_status(reference, shown, StoreLocation("oci://r/m"))
    assert again is not None
    assert again.scores == found
