"""Candidates of `scheme: Auto` in which some operators have another scheme than the others.

- Int8Dynamic with its most sensitive operators as Int8Weights, where neither Int8Dynamic nor anything smaller
  passes clearly: about as small, and closer to the original.
- Int4Dynamic with its most sensitive operators in 8 bits, where Int4Dynamic does not pass clearly and is
  smaller than what would be chosen so far. Where Int8Dynamic does not pass either, they are Int8Weights.

Of each kind 1, 3 and half of the operators are tried. The first mixture that passes clearly ends its series:
more exceptions would be larger or slower.
"""

from collections.abc import Sequence
from functools import partial

from modelpress.api.schemes import Scheme
from modelpress.compression import schemes
from modelpress.compression.auto import sensitivity
from modelpress.compression.auto.candidates import Search
from modelpress.compression.auto.choice import MeasuredCandidate, ScoreLimits, choose, clearly
from modelpress.compression.auto.sensitivity import Group, Trial
from modelpress.compression.evaluation import holdout
from modelpress.compression.formats.base import MixedPrecisionFormats, Mixture, Operator
from modelpress.compression.report.document import Sensitivity


def add(search: Search, formats: MixedPrecisionFormats) -> tuple[Sensitivity, ...]:
    """Try the mixtures that can help; return what was found out about the operators."""
    operators = formats.operators
    found: list[Sensitivity] = []
    for base, settings in schemes.mixable():
        if exceptions_help(base, search.measured, search.limits) and search.left > 0:
            repair = _repair(settings.repairs, search)
            ranking = _ranked(search, formats, _repairable(operators, base, repair), base)
            found.extend(_report(ranking, base))
            _series(search, formats, (base, repair), ranking)
    return tuple(found)


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


def exceptions_help(base: Scheme, measured: Sequence[MeasuredCandidate], limits: ScoreLimits) -> bool:
    """Whether exceptions, which only add bytes and score, can make a scheme better than what was measured."""
    plain = _named(measured, base)
    if plain is None or clearly(plain, limits):
        return False
    if limits.max_size is not None and plain.bytes > limits.max_size:
        return False
    choice = choose(measured, limits)
    return not (choice.clearly and measured[choice.chosen].bytes < plain.bytes)


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


def _series(
    search: Search, formats: MixedPrecisionFormats, pair: tuple[Scheme, Scheme], ranking: Sequence[Group]
) -> None:
    """Try a base scheme with more and more of the worst groups in the other one."""
    base, other = pair
    series = counts(len(ranking))[: search.left]
    for index, count in enumerate(series):
        worst = [operator for group in ranking[:count] for operator in group.operators]
        mixture = Mixture(base, dict.fromkeys(worst, other))
        name = f"{base.value}, {len(worst)} {other.value}"

        make = partial(formats.mixed, mixture)
        candidate = search.add((name, mixture.describe()), make, len(series) - index - 1)
        if candidate.measured and clearly(candidate.measured, search.limits):
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
