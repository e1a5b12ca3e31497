"""Candidates of `scheme: Auto` in which some operators have another scheme than the others.

- Int8Dynamic with all depthwise convolutions as Int8Weights, where Int8Dynamic is slower than float32: as
  small, and on larger models faster than both.
- Int8Dynamic with its most sensitive operators as Int8Weights, where neither Int8Dynamic nor anything smaller
  passes clearly: about as small, and closer to the original.
- Int4Dynamic with its most sensitive operators in 8 bits, where Int4Dynamic does not pass clearly and is
  smaller than what would be chosen so far. Where Int8Dynamic does not pass either, they are Int8Weights. The
  others get their integers by the algorithm that was closest to the original.

Of the last two kinds 1, 3 and half of the operators are tried. The first mixture that passes clearly ends its
series: more exceptions would be larger or slower.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from modelpress.api.schemes import Scheme
from modelpress.compression import schemes
from modelpress.compression.auto import algorithms, sensitivity
from modelpress.compression.auto.candidates import Search
from modelpress.compression.auto.choice import MeasuredCandidate, clearly, exceptions_help, slow
from modelpress.compression.auto.sensitivity import Group, Trial
from modelpress.compression.evaluation import holdout
from modelpress.compression.formats.base import MixedPrecisionFormats, Mixture, Operator
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.report.document import Sensitivity
from modelpress.compression.schemes import Algorithm


def add(
    search: Search, formats: MixedPrecisionFormats, calibration: Calibration | None
) -> tuple[Sensitivity, ...]:
    """Try the mixtures that can help; return what was found out about the operators."""
    operators = formats.operators
    if (spared := without_slow_depthwise(search.measured, operators)) and search.left > 0:
        _try(search, formats, spared, 0)
    found: list[Sensitivity] = []
    for base, settings in schemes.mixable():
        if exceptions_help(base.value, search.measured, search.limits) and search.left > 0:
            repair = _repair(settings.repairs, search)
            ranking = _ranked(search, formats, _repairable(operators, base, repair), base)
            found.extend(_report(ranking, base))
            _series(search, formats, _Series(base, repair, _algorithm(search, base), calibration), ranking)
    return tuple(found)


def without_slow_depthwise(
    measured: Sequence[MeasuredCandidate], operators: Sequence[Operator]
) -> Mixture | None:
    """Return Int8Dynamic without its depthwise convolutions, where it is slower than float32 and has some."""
    plain = _named(measured, Scheme.INT8_DYNAMIC)
    depthwise = [item for item in operators if item.depthwise]
    if plain is None or not slow(plain) or not depthwise:
        return None
    return Mixture(Scheme.INT8_DYNAMIC, dict.fromkeys(depthwise, Scheme.INT8_WEIGHTS))


def _try(search: Search, formats: MixedPrecisionFormats, mixture: Mixture, more: int) -> bool:
    """Measure a mixture; return whether it passes clearly. What was measured before is not made again."""
    found = mixture.describe()
    same = (item for item in search.candidates if item.parameters == found)
    candidate = next(same, None) or search.add((_name(mixture), found), partial(formats.mixed, mixture), more)
    return candidate.measured is not None and clearly(candidate.measured, search.limits)


def _name(mixture: Mixture) -> str:
    assert mixture.base is not None
    others = sorted({scheme.value for scheme in mixture.exceptions.values()})
    return f"{mixture.base.value}, {len(mixture.exceptions)} {' and '.join(others)}"


def _repair(repairs: Sequence[Scheme], search: Search) -> Scheme:
    """Return the first scheme that passes clearly by itself; the last is the closest to the original."""
    plain = ((scheme, _named(search.measured, scheme)) for scheme in repairs)
    passing = (scheme for scheme, found in plain if found and clearly(found, search.limits))
    return next(passing, repairs[-1])


def _repairable(operators: Sequence[Operator], base: Scheme, repair: Scheme) -> list[Operator]:
    """Return the operators that compute with other numbers in `repair` than in `base`."""
    before, after = schemes.litert(base).quantizer, schemes.litert(repair).quantizer
    assert before is not None
    assert after is not None
    return [item for item in operators if before.of(dense=item.dense) != after.of(dense=item.dense)]


def counts(groups: int) -> list[int]:
    """Return how many of `groups` groups are exceptions: 1, 3 and half of them, and never all."""
    return sorted({count for count in (1, 3, groups // 2) if 0 < count < groups})


def _named(measured: Sequence[MeasuredCandidate], scheme: Scheme) -> MeasuredCandidate | None:
    return next((item for item in measured if item.name == scheme.value), None)


def _ranked(
    search: Search, formats: MixedPrecisionFormats, operators: Sequence[Operator], scheme: Scheme
) -> tuple[Group, ...]:
    folder = search.folder / f"sensitivity {scheme.value}"
    choosing = search.measure.choosing
    rows = holdout.sample(choosing.data, sensitivity.ROWS, folder / "rows")
    return sensitivity.ranked(formats, operators, Trial(scheme, rows, choosing.batch), folder / "trials")


@dataclass(frozen=True)
class _Series:
    """Mixtures of a base scheme, with its algorithm, and another one."""

    base: Scheme
    other: Scheme
    algorithm: Algorithm | None
    calibration: Calibration | None

    def of(self, operators: Sequence[Operator]) -> Mixture:
        """Return the one in which these operators have the other scheme."""
        rows = self.calibration if self.algorithm is Algorithm.GPTQ else None
        return Mixture(self.base, dict.fromkeys(operators, self.other), self.algorithm, rows)


def _algorithm(search: Search, scheme: Scheme) -> Algorithm | None:
    best = algorithms.best(search, scheme)
    return best.algorithm if best else None


def _series(
    search: Search, formats: MixedPrecisionFormats, mixtures: _Series, ranking: Sequence[Group]
) -> None:
    """Try a base scheme with more and more of the worst groups in the other one."""
    series = counts(len(ranking))[: search.left]
    for index, count in enumerate(series):
        worst = [operator for group in ranking[:count] for operator in group.operators]
        if _try(search, formats, mixtures.of(worst), len(series) - index - 1):
            return


def _report(ranking: Sequence[Group], scheme: Scheme) -> list[Sensitivity]:
    return [
        Sensitivity(
            operators=tuple(item.name for item in group.operators),
            scheme=scheme.value,
            bytes=sum(item.bytes for item in group.operators),
            damage=None if group.damage == sensitivity.WORST else group.damage,
        )
        for group in ranking
    ]
