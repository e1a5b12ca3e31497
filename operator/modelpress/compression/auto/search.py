"""The search of `scheme: Auto`: schemes of the whole model in the order of their table, then mixtures where
they can help (`mixtures`), and the choice among all (`choice`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelpress.api.schemes import TRAITS, Scheme
from modelpress.compression.auto import algorithms, mixtures
from modelpress.compression.auto.candidates import BUDGET, NO_CALIBRATION, Candidate, CandidateMeasure, Search
from modelpress.compression.auto.choice import SLOWER, CandidateVerdict, Choice, choose
from modelpress.compression.formats.base import Format, Formats, MixedPrecisionFormats, QuantizationTask
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.report.document import CandidateReport, PassReport, SearchReport, Sensitivity
from modelpress.models.types import unsupported


@dataclass(frozen=True)
class Task:
    """What is searched for."""

    schemes: Sequence[Scheme]  # tried in this order
    calibration: Calibration | None  # where there is data.calibration
    measure: CandidateMeasure
    original_bytes: int


@dataclass(frozen=True)
class Found:
    """The chosen format, the report of its pass, and that of the search."""

    format: Format
    quantization: PassReport
    report: SearchReport


def run(formats: Formats, task: Task, folder: Path) -> Found:
    """Search a format; what is made on the way lies below the folder `folder`.

    Raises UnsupportedModel where no candidate works.
    """
    folder.mkdir(parents=True, exist_ok=True)
    search = Search(task.measure, folder)
    quantizations = {scheme: _quantization(scheme, task) for scheme in task.schemes}
    for index, (scheme, quantization) in enumerate(quantizations.items()):
        label = scheme.value, {"scheme": scheme.value}
        if quantization is None:
            search.skip(*label, NO_CALIBRATION)
        else:
            search.add(label, partial(formats.quantized, quantization), len(quantizations) - index - 1)
    if not search.measured:
        reasons = "; ".join(f"{item.name}: {item.failed}" for item in search.candidates)
        raise unsupported(f"no scheme works for this model: {reasons}")
    sensitivity: tuple[Sensitivity, ...] = ()
    if isinstance(formats, MixedPrecisionFormats):
        algorithms.add(search, formats, task.calibration)
        sensitivity = mixtures.add(search, formats, task.calibration)
    choice = choose(search.measured, search.limits)
    chosen = next(item for item in search.candidates if item.measured is search.measured[choice.chosen])
    search.keep(chosen)
    assert chosen.step is not None
    report = SearchReport(
        rows=task.measure.choosing.data.rows,
        budget=BUDGET,
        passed=choice.passes,
        note=_note(chosen, choice),
        candidates=_rows(search, choice, task.original_bytes),
        sensitivity=sensitivity,
    )
    return Found(formats.opened(chosen.folder), chosen.step, report)


def _quantization(scheme: Scheme, task: Task) -> QuantizationTask | None:
    """Return what to ask the formats for; None where data is missing."""
    if not TRAITS[scheme].needs_calibration:
        return QuantizationTask(scheme)
    return QuantizationTask(scheme, task.calibration) if task.calibration else None


def _note(chosen: Candidate, choice: Choice) -> str:
    if choice.clearly and chosen.measured and not chosen.measured.times:
        return f"{chosen.name} is the smallest that passes clearly; times here do not tell those of workers"
    if choice.clearly:
        return (
            f"{chosen.name} is the smallest that passes clearly"
            f" and takes at most {SLOWER} times as long as the fastest"
        )
    if choice.passes:
        return f"{chosen.name} passes, by less than the rows can tell; no candidate passes clearly"
    return f"no candidate passes the limits: {chosen.name} comes closest to them"


def _rows(search: Search, choice: Choice, original_bytes: int) -> tuple[CandidateReport, ...]:
    verdicts = iter(choice.verdicts)
    return tuple(
        _row(item, next(verdicts), original_bytes)
        if item.measured
        else CandidateReport(name=item.name, parameters=dict(item.parameters), why_not=item.failed)
        for item in search.candidates
    )


def _row(item: Candidate, verdict: CandidateVerdict, original_bytes: int) -> CandidateReport:
    assert item.measured is not None
    found = item.measured
    return CandidateReport(
        name=item.name,
        parameters={**item.parameters, **({"algorithm": item.algorithm.value} if item.algorithm else {})},
        bytes=found.bytes,
        ratio=round(original_bytes / found.bytes, 4),
        score=found.score,
        score_interval=found.score_interval,
        drop=found.drop,
        drop_interval=found.drop_interval,
        latency=item.times,
        seconds=None if item.seconds is None else round(item.seconds, 2),
        passed=verdict.passes,
        clearly=verdict.clearly,
        front=verdict.best,
        chosen=verdict.why_not is None,
        why_not=verdict.why_not,
    )
