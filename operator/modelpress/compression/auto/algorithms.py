"""Candidates of `scheme: Auto` in which an algorithm that takes rows and seconds makes the integers.

It changes neither bytes nor speed of a scheme. So it is tried where the scheme itself does not pass clearly
and is smaller than the best so far.
"""

from collections.abc import Sequence
from functools import partial

from modelpress.api.schemes import Scheme
from modelpress.compression import schemes
from modelpress.compression.auto.candidates import NO_CALIBRATION, Candidate, Search
from modelpress.compression.auto.choice import exceptions_help
from modelpress.compression.formats.base import MixedPrecisionFormats, Operator, QuantizationTask
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.schemes import Algorithm

MAX_WIDTH = 2048  # inputs of an operator: GPTQ inverts a matrix of that size, in time of its third power


def add(search: Search, formats: MixedPrecisionFormats, calibration: Calibration | None) -> None:
    """Try the schemes of which an algorithm with data can make more."""
    for scheme, settings in schemes.mixable():
        algorithm = settings.calibrated
        if algorithm is None or search.left == 0:
            continue
        if not exceptions_help(scheme.value, search.measured, search.limits):
            continue
        label = (name(scheme, algorithm), {"scheme": scheme.value, "algorithm": algorithm.value})
        if refusal := _refusal(formats.operators, calibration):
            search.skip(*label, refusal)
        else:
            search.add(label, partial(formats.quantized, QuantizationTask(scheme, calibration, algorithm)), 0)


def name(scheme: Scheme, algorithm: Algorithm) -> str:
    """Return the name of a candidate."""
    return f"{scheme.value}, {algorithm.value}"


def best(search: Search, scheme: Scheme) -> Candidate | None:
    """Return the candidate of a scheme for all operators that is closest to the original."""
    names = {scheme.value, *(name(scheme, item) for item in Algorithm)}
    found = [item for item in search.candidates if item.name in names and item.measured]
    return min(found, key=_drop, default=None)


def _drop(item: Candidate) -> float:
    assert item.measured is not None
    return item.measured.drop


def _refusal(operators: Sequence[Operator], calibration: Calibration | None) -> str | None:
    if calibration is None:
        return NO_CALIBRATION
    widest = max((item.width for item in operators), default=0)
    if widest == 0:
        return "no fully connected operator"
    if widest > MAX_WIDTH:
        return f"a fully connected operator has {widest:,} inputs, more than {MAX_WIDTH:,}"
    return None
