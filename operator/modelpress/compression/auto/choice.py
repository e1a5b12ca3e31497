"""Chooses among measured candidates: the decision of `scheme: Auto`. Pure.

The smallest candidate that passes the limits is taken, if it is not slower than 1.3 times the fastest of
those that pass, and not slower than float32 where one of them is not; its time is the geometric mean of its
times at each batch size. Smaller differences are noise. Scores on a part of the data are uncertain, so
candidates that pass clearly, with a chance of at least two in three to pass on as much other data too, come
before those that just pass. Where none passes, the one that comes closest to the limits is taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from modelpress.api.evaluation import Evaluation
from modelpress.api.values import parse_bytes, parse_percent
from modelpress.compression.evaluation.intervals import Z
from modelpress.compression.report.document import Bounds
from modelpress.compression.report.readable import percent, points

SLOWER = 1.3  # times the fastest; smaller differences are ties
PARITY = 1.1  # times float32, with which calls alternate: the fastest calls of equal models differ by less
_STEP = Decimal("0.000001")  # percent: the gate rounds scores to this
_CHANCE = 0.4307272992954576  # the normal distribution's 2/3 quantile


@dataclass(frozen=True)
class ScoreLimits:
    """The limits of the spec; None is no limit."""

    min_score: Decimal | None = None  # percent
    max_drop: Decimal | None = None  # percentage points
    max_size: int | None = None  # bytes


@dataclass(frozen=True)
class MeasuredCandidate:
    """What is known of a candidate that works."""

    name: str
    bytes: int
    score: float  # percent
    drop: float  # percentage points
    times: tuple[float, ...]  # one call at each batch size takes this share of float32's time
    score_interval: Bounds | None = None  # 95 % confidence
    drop_interval: Bounds | None = None

    @property
    def time(self) -> float:
        """The geometric mean of the times; 1 where none was measured."""
        return math.exp(sum(math.log(time) for time in self.times) / len(self.times)) if self.times else 1.0


@dataclass(frozen=True)
class CandidateVerdict:
    """What the choice says of one candidate."""

    passes: bool
    clearly: bool
    best: bool  # no other one is both smaller and better in score: the Pareto front
    why_not: str | None  # it was not chosen; None for the one that was


@dataclass(frozen=True)
class Choice:
    """Which candidate was taken, and why not the others, in their order."""

    chosen: int
    verdicts: tuple[CandidateVerdict, ...]

    @property
    def passes(self) -> bool:
        """Whether the chosen one passes the limits."""
        return self.verdicts[self.chosen].passes

    @property
    def clearly(self) -> bool:
        """Whether it passes them clearly."""
        return self.verdicts[self.chosen].clearly


def limits_of(evaluation: Evaluation) -> ScoreLimits:
    """Return the limits of a spec as numbers."""
    return ScoreLimits(
        None if evaluation.min_score is None else parse_percent(evaluation.min_score),
        None if evaluation.max_drop is None else parse_percent(evaluation.max_drop),
        None if evaluation.max_size is None else parse_bytes(evaluation.max_size),
    )


def choose(candidates: Sequence[MeasuredCandidate], limits: ScoreLimits) -> Choice:
    """Choose one of at least one candidate."""
    missed = [_missed(item, limits) for item in candidates]
    passing = [item for item, lines in zip(candidates, missed, strict=True) if not lines]
    clear = [item for item in passing if clearly(item, limits)]
    pool = clear or passing
    if pool:
        fastest = min(pool, key=lambda item: (item.time, item.bytes))
        swift = [item for item in pool if not _slower(item, fastest)]
        chosen = min(swift, key=lambda item: (item.bytes, item.time))
    else:
        fastest = chosen = min(candidates, key=lambda item: (shortfall(item, limits), item.bytes, item.time))
    best = front(candidates)
    verdicts = tuple(
        CandidateVerdict(
            passes=not lines,
            clearly=any(item is other for other in clear),
            best=index in best,
            why_not=None if item is chosen else _why_not(item, lines, _Taken(chosen, fastest, pool)),
        )
        for index, (item, lines) in enumerate(zip(candidates, missed, strict=True))
    )
    return Choice(next(index for index, item in enumerate(candidates) if item is chosen), verdicts)


def slow(item: MeasuredCandidate) -> bool:
    """Whether a candidate is slower than float32."""
    return item.time > PARITY


def exceptions_help(name: str, measured: Sequence[MeasuredCandidate], limits: ScoreLimits) -> bool:
    """Whether a better score, at no fewer bytes, can make the candidate `name` the one to choose."""
    plain = next((item for item in measured if item.name == name), None)
    if plain is None or clearly(plain, limits):
        return False
    if limits.max_size is not None and plain.bytes > limits.max_size:
        return False
    choice = choose(measured, limits)
    return not (choice.clearly and measured[choice.chosen].bytes <= plain.bytes)


def front(candidates: Sequence[MeasuredCandidate]) -> set[int]:
    """Return the indices of the Pareto front.

    No other candidate is as small and scores as high as one of these, and is better in one of both.
    """
    return {
        index
        for index, item in enumerate(candidates)
        if not any(
            other.bytes <= item.bytes
            and other.score >= item.score
            and (other.bytes < item.bytes or other.score > item.score)
            for other in candidates
        )
    }


def clearly(item: MeasuredCandidate, limits: ScoreLimits) -> bool:
    """Whether a candidate would pass on as many other rows with a chance of at least two in three.

    The difference of two samples has sqrt(2) times the standard error of one. Where the error is not known,
    that it passes is all there is.
    """
    if _missed(item, limits):
        return False
    low = Decimal(repr(item.score)) - _room(item.score_interval)
    high = Decimal(repr(item.drop)) + _room(item.drop_interval)
    return (limits.min_score is None or low >= limits.min_score) and (
        limits.max_drop is None or high <= limits.max_drop
    )


def shortfall(item: MeasuredCandidate, limits: ScoreLimits) -> float:
    """Return how far a candidate is from the limits: percentage points of score, or percent of maxSize."""
    distances = [Decimal(0)]
    if limits.min_score is not None:
        distances.append(limits.min_score - _exact(item.score))
    if limits.max_drop is not None:
        distances.append(_exact(item.drop) - limits.max_drop)
    if limits.max_size is not None:
        distances.append(Decimal(100) * (item.bytes - limits.max_size) / max(1, limits.max_size))
    return float(max(distances))


def _missed(item: MeasuredCandidate, limits: ScoreLimits) -> list[str]:
    lines = []
    if limits.min_score is not None and _exact(item.score) < limits.min_score:
        lines.append(f"score {percent(item.score)}, below minScore")
    if limits.max_drop is not None and _exact(item.drop) > limits.max_drop:
        lines.append(f"drop {points(item.drop)}, more than maxDrop")
    if limits.max_size is not None and item.bytes > limits.max_size:
        lines.append(f"{item.bytes:,} bytes, above maxSize")
    return lines


@dataclass(frozen=True)
class _Taken:
    chosen: MeasuredCandidate
    fastest: MeasuredCandidate
    pool: Sequence[MeasuredCandidate]  # the candidates that pass


def _why_not(item: MeasuredCandidate, missed: Sequence[str], taken: _Taken) -> str:
    if missed:
        return "; ".join(missed)
    if not any(item is other for other in taken.pool):
        return "passes by less than the rows can tell"
    if slow := _slower(item, taken.fastest):
        return slow
    if item.bytes > taken.chosen.bytes:
        return f"larger than {taken.chosen.name}"
    return f"as small as {taken.chosen.name}, and not faster"


def _slower(item: MeasuredCandidate, fastest: MeasuredCandidate) -> str | None:
    """Return how many times as slow it is as what; None where that is within the noise."""
    times = item.time / fastest.time
    if times > SLOWER:
        return f"{times:.2f} times as slow as {fastest.name}"
    if slow(item) and not slow(fastest):
        return f"{item.time:.2f} times as slow as float32"
    return None


def _exact(value: float) -> Decimal:
    return Decimal(repr(value)).quantize(_STEP)


def _room(bounds: Bounds | None) -> Decimal:
    if bounds is None:
        return Decimal(0)
    error = (bounds[1] - bounds[0]) / (2 * Z)
    return Decimal(repr(_CHANCE * math.sqrt(2) * error))
