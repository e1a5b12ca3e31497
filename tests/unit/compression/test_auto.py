"""The decision of scheme Auto, on tables and on drawn candidates. Nothing is trained or converted here."""

from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.api.evaluation import Evaluation
from modelpress.compression.auto import choice as auto
from modelpress.compression.auto.choice import MeasuredCandidate, ScoreLimits

DROP = ScoreLimits(max_drop=Decimal("0.5"))


def measured(name: str, size: int, drop: float, times: tuple[float, float] = (1.0, 1.0)) -> MeasuredCandidate:
    """A candidate whose original scores 98 %, measured exactly."""
    return MeasuredCandidate(name, size, 98.0 - drop, drop, times)


def uncertain(item: MeasuredCandidate, half: float) -> MeasuredCandidate:
    """The same with 95 % intervals of +- `half`."""
    return replace(
        item,
        score_interval=(item.score - half, item.score + half),
        drop_interval=(item.drop - half, item.drop + half),
    )


@pytest.mark.parametrize(
    ("candidates", "limits", "chosen", "passes"),
    [
        pytest.param(
            [measured("int8", 30, 0.1), measured("int4", 20, 0.4), measured("float16", 60, 0)],
            DROP,
            "int4",
            True,
            id="the smallest that passes",
        ),
        pytest.param(
            [measured("int8", 30, 0.1), measured("int4", 20, 0.6)], DROP, "int8", True, id="not the failing"
        ),
        pytest.param(
            [measured("int8", 30, 0.5)], DROP, "int8", True, id="a drop of exactly the limit passes"
        ),
        pytest.param(
            [measured("slow", 20, 0, (0.5, 0.5)), measured("fast", 30, 0, (0.2, 0.2))],
            DROP,
            "fast",
            True,
            id="smaller, but more than 1.3 times as slow",
        ),
        pytest.param(
            [measured("slow", 20, 0, (0.2, 0.5)), measured("fast", 30, 0, (0.2, 0.2))],
            DROP,
            "fast",
            True,
            id="very slow at one batch size is slow",
        ),
        pytest.param(
            [measured("slower", 20, 0, (0.26, 0.26)), measured("fast", 30, 0, (0.2, 0.2))],
            DROP,
            "slower",
            True,
            id="1.3 times is noise",
        ),
        pytest.param(
            [measured("dynamic", 20, 0, (1.25, 1.25)), measured("weights", 25, 0, (1.0, 1.0))],
            DROP,
            "weights",
            True,
            id="slower than float32, and one is not",
        ),
        pytest.param(
            [measured("dynamic", 20, 0, (1.25, 1.25)), measured("weights", 25, 3, (1.0, 1.0))],
            DROP,
            "dynamic",
            True,
            id="slower than float32, as all that pass",
        ),
        pytest.param(
            [measured("dynamic", 20, 0, (1.1, 1.1)), measured("weights", 25, 0, (1.0, 1.0))],
            DROP,
            "dynamic",
            True,
            id="1.1 times float32 is noise",
        ),
        pytest.param(
            [measured("fails", 10, 9, (0.01, 0.01)), measured("int8", 20, 0, (0.5, 0.5))],
            DROP,
            "int8",
            True,
            id="a failing one is not the fastest",
        ),
        pytest.param(
            [measured("int8", 30, 3), measured("float16", 60, 1), measured("int4", 20, 5)],
            DROP,
            "float16",
            False,
            id="none passes: the closest",
        ),
        pytest.param(
            [measured("a", 30, 3), measured("b", 20, 3)], DROP, "b", False, id="equally close: the smaller"
        ),
        pytest.param(
            [measured("int8", 30, 0), measured("int4", 20, 0.6)],
            replace(DROP, max_size=25),
            "int4",
            False,
            id="0.6 points and 20 % of bytes: points are closer",
        ),
        pytest.param(
            [measured("int8", 30, 0), measured("int4", 20, 0.4)],
            replace(DROP, max_size=25),
            "int4",
            True,
            id="maxSize is a limit",
        ),
        pytest.param(
            [measured("int8", 30, 0), measured("int4", 20, 0.4)],
            ScoreLimits(min_score=Decimal("97.8")),
            "int8",
            True,
            id="minScore is a limit",
        ),
        pytest.param(
            [uncertain(measured("int8", 30, 0), 0.5), uncertain(measured("int4", 20, 0.4), 0.5)],
            DROP,
            "int8",
            True,
            id="one that passes clearly before a smaller one that just passes",
        ),
        pytest.param(
            [uncertain(measured("int8", 30, 0.2), 2), uncertain(measured("int4", 20, 0.4), 2)],
            DROP,
            "int4",
            True,
            id="none passes clearly: the smallest that passes",
        ),
    ],
)
def test_the_choice(
    candidates: list[MeasuredCandidate], limits: ScoreLimits, chosen: str, passes: bool
) -> None:
    choice = auto.choose(candidates, limits)
    assert (candidates[choice.chosen].name, choice.passes) == (chosen, passes)


def test_each_other_candidate_says_why_it_was_not_chosen() -> None:
    candidates = [
        uncertain(measured("int8", 30, 0), 0.5),
        uncertain(measured("slow", 25, 0, (3.0, 1.0)), 0.5),
        uncertain(measured("unclear", 20, 0.4), 0.5),
        uncertain(measured("wrong", 10, 4), 0.5),
        uncertain(measured("large", 60, 0), 0.5),
        uncertain(measured("same", 30, 0, (1.1, 1.1)), 0.5),
    ]
    choice = auto.choose(candidates, replace(DROP, max_size=50))
    assert [verdict.why_not for verdict in choice.verdicts] == [
        None,
        "1.73 times as slow as int8",
        "passes by less than the rows can tell",
        "drop +4.00, more than maxDrop",
        "60 bytes, above maxSize",
        "as small as int8, and not faster",
    ]


def test_one_that_is_slower_than_float32_says_so() -> None:
    candidates = [measured("dynamic", 20, 0, (1.25, 1.25)), measured("weights", 25, 0, (1.0, 1.0))]
    assert auto.choose(candidates, DROP).verdicts[0].why_not == "1.25 times as slow as float32"


def test_the_front_is_what_nothing_is_smaller_and_better_than() -> None:
    candidates = [measured("a", 30, 0), measured("b", 20, 1), measured("c", 25, 2), measured("d", 30, 0)]
    assert auto.front(candidates) == {0, 1, 3}


def test_limits_are_read_as_the_gate_reads_them() -> None:
    spec = Evaluation.model_validate({"minScore": "97.5%", "maxDrop": "0.5%", "maxSize": "20Ki"})
    assert auto.limits_of(spec) == ScoreLimits(Decimal("97.5"), Decimal("0.5"), 20 * 1024)


times = st.floats(0.01, 10)
bounded = st.tuples(st.floats(0, 5), st.booleans())


@st.composite
def drawn(draw: st.DrawFn) -> list[MeasuredCandidate]:
    """One to eight candidates; the first one is Int8Dynamic."""
    found = []
    for number in range(draw(st.integers(1, 8))):
        drop = draw(st.floats(-2, 10))
        item = measured(str(number), draw(st.integers(1, 50)), drop, (draw(times), draw(times)))
        half, known = draw(bounded)
        found.append(uncertain(item, half) if known else item)
    return found


limits = st.builds(
    ScoreLimits,
    min_score=st.none() | st.decimals(80, 99, places=1),
    max_drop=st.decimals(0, 5, places=1),
    max_size=st.none() | st.integers(1, 50),
)


@given(drawn(), limits)
def test_the_choice_is_never_worse_than_int8dynamic(
    candidates: list[MeasuredCandidate], limit: ScoreLimits
) -> None:
    choice = auto.choose(candidates, limit)
    dynamic, chosen = candidates[0], candidates[choice.chosen]
    verdict = choice.verdicts[0]
    assert choice.passes or not verdict.passes
    assert choice.clearly or not verdict.clearly
    if not choice.passes:
        distances = [auto.shortfall(item, limit) for item in (chosen, dynamic)]
        assert distances[0] <= distances[1]
        assert distances[0] < distances[1] or chosen.bytes <= dynamic.bytes
    elif verdict.passes and verdict.clearly == choice.clearly and chosen.bytes > dynamic.bytes:
        assert verdict.why_not is not None
        assert "times as slow" in verdict.why_not


@given(drawn(), limits)
def test_the_choice_passes_where_any_does_and_is_not_slow(
    candidates: list[MeasuredCandidate], limit: ScoreLimits
) -> None:
    choice = auto.choose(candidates, limit)
    assert choice.passes == any(verdict.passes for verdict in choice.verdicts)
    assert choice.clearly == any(verdict.clearly for verdict in choice.verdicts)
    assert sum(verdict.why_not is None for verdict in choice.verdicts) == 1
    pool = [
        item
        for item, verdict in zip(candidates, choice.verdicts, strict=True)
        if verdict.passes and verdict.clearly == choice.clearly
    ]
    if choice.passes:
        fastest = min(pool, key=lambda item: item.time)
        chosen = candidates[choice.chosen]
        assert chosen.time <= auto.SLOWER * fastest.time


@given(drawn(), limits, st.randoms())
def test_the_order_of_the_candidates_decides_nothing(
    candidates: list[MeasuredCandidate], limit: ScoreLimits, random: Random
) -> None:
    first = candidates[auto.choose(candidates, limit).chosen]
    shuffled = list(candidates)
    random.shuffle(shuffled)
    second = shuffled[auto.choose(shuffled, limit).chosen]
    assert (first.bytes, first.time) == (second.bytes, second.time)
