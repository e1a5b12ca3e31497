"""The quality gate: a Job's scores and sizes against the limits of the spec. Exact decimal arithmetic.

Scores are taken to six decimals of a percent, as fine as a limit can be written: what the status shows is
what was judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from modelpress.api.conditions import Reason
from modelpress.api.contract import Scores
from modelpress.api.evaluation import Evaluation, Metric, Scoring
from modelpress.api.values import parse_bytes, parse_percent
from modelpress.planning.explanation import Explanation

_STEP = Decimal("0.000001")
_MOST = Decimal(100_000)  # keeps what is shown within the bounds of the status
_LOWEST = Decimal(-9999)  # R2 has no lower bound; the status does


@dataclass(frozen=True)
class Measured:
    """Scores in percent."""

    metric: Metric
    original: Decimal
    compressed: Decimal
    output_drop: Decimal | None = None  # the drop of the output that lost most, where there are several
    outputs: Mapping[str, "Measured"] = field(default_factory=dict)  # where they are judged one by one

    @property
    def drop(self) -> Decimal:
        """Return the lost score in percentage points; negative where the compressed model is better."""
        return self.original - self.compressed if self.output_drop is None else self.output_drop


def measured(scores: Scores) -> Measured:
    """Return a Job's scores as exact decimals. Raises ValueError for NaN and infinity."""
    lost = None if scores.drop is None else points(repr(scores.drop))
    outputs = {
        item.name: Measured(item.metric, score(repr(item.original)), score(repr(item.compressed)))
        for item in scores.outputs
    }
    return Measured(
        scores.metric, score(repr(scores.original)), score(repr(scores.compressed)), lost, outputs
    )


def score(text: str) -> Decimal:
    """Return a score that is written as a number, such as "97.5". Raises ValueError for anything else."""
    value = points(text)
    if value > 1000:
        raise ValueError(f"{text!r} is not a score")
    return max(value, _LOWEST.quantize(_STEP))


def points(text: str) -> Decimal:
    """Return percentage points that are written as a number. Raises ValueError for anything else."""
    try:
        value = Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a score") from error
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a score")
    return min(max(value, -_MOST), _MOST).quantize(_STEP)


def percent(value: Decimal) -> str:
    """Return `Decimal("97.500000")` as "97.5%"."""
    return f"{value.normalize() + 0:f}%"


def judge(limits: Evaluation | None, scores: Measured | None, size: int | None) -> Explanation | None:
    """Return why an artifact misses the limits, all of them in one message; None where it passes.

    `size` is the bytes of the format that serves. A limit that nothing was measured for is missed.
    """
    if limits is None:
        return None
    judged = _missed_outputs(limits, scores) if limits.outputs else _missed_scores(limits, scores)
    missed = [*judged, *_missed_size(limits, size)]
    return Explanation(Reason.EVALUATION_FAILED, "; ".join(missed)) if missed else None


def _missed_outputs(limits: Evaluation, scores: Measured | None) -> list[str]:
    """Judge each output by its own limits."""
    found = scores.outputs if scores else {}
    names = dict.fromkeys([*(item.name for item in limits.outputs or ()), *found])
    return [
        f"output {name}: {line}"
        for name in names
        for line in _missed_scores(limits.of_output(name), found.get(name))
    ]


def _missed_scores(limits: Scoring, scores: Measured | None) -> list[str]:
    if limits.min_score is None and limits.max_drop is None:
        return []
    if scores is None:
        return ["evaluation: the artifact has no score"]
    missed = []
    if limits.min_score is not None and scores.compressed < parse_percent(limits.min_score):
        missed.append(
            f"minScore: {scores.metric.value} is {percent(scores.compressed)}, below {limits.min_score}"
        )
    if limits.max_drop is not None and scores.drop > parse_percent(limits.max_drop):
        missed.append(
            f"maxDrop: {scores.metric.value} drops by {percent(scores.drop)} "
            f"({_between(scores)}), more than {limits.max_drop}"
        )
    return missed


def _between(scores: Measured) -> str:
    if scores.drop != scores.original - scores.compressed:
        return "the output that lost most"
    return f"from {percent(scores.original)} to {percent(scores.compressed)}"


def _missed_size(limits: Evaluation, size: int | None) -> list[str]:
    if limits.max_size is None:
        return []
    if size is None:
        return ["maxSize: the artifact's size is unknown"]
    limit = parse_bytes(limits.max_size)
    return [f"maxSize: the model has {size} bytes, above {limits.max_size} ({limit})"] if size > limit else []
