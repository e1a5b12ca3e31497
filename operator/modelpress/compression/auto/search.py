"""The search of `scheme: Auto`: schemes of the whole model in the order of their table, then mixtures where
they can help (`mixtures`), and the choice among all (`choice`). Must not import TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modelpress.api.schemes import TRAITS, Scheme
from modelpress.compression.auto import mixtures
from modelpress.compression.auto.candidates import BUDGET, Scale, Tried, Workbench
from modelpress.compression.auto.choice import SLOWER, Choice, Verdict, choose
from modelpress.compression.formats.base import Form, Forms, MixableForms, Quantization
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.report.document import Candidate, PassReport, SearchReport
from modelpress.models.types import unsupported

NO_CALIBRATION = "needs data.calibration"


@dataclass(frozen=True)
class Task:
    """What is searched for."""

    schemes: Sequence[Scheme]  # in this order
    calibration: Calibration | None  # for the schemes that need one
    scale: Scale
    original_bytes: int


@dataclass(frozen=True)
class Found:
    """The chosen form, the report of its pass, and that of the search."""

    form: Form
    quantization: PassReport
    report: SearchReport


def run(forms: Forms, task: Task, folder: Path) -> Found:
    """Search a form; what is made on the way lies below the folder `folder`.

    Raises UnsupportedModel where no candidate works.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bench = Workbench(task.scale, folder)
    wanted = {scheme: _quantization(scheme, task) for scheme in task.schemes}
    for place, (scheme, quantization) in enumerate(wanted.items()):
        blank = scheme.value, {"scheme": scheme.value}
        if quantization is None:
            bench.skip(*blank, NO_CALIBRATION)
        else:
            bench.add(blank, partial(forms.quantized, quantization), len(wanted) - place - 1)
    if not bench.measured:
        reasons = "; ".join(f"{item.name}: {item.failed}" for item in bench.tried)
        raise unsupported(f"no scheme works for this model: {reasons}")
    sensitivity = mixtures.add(bench, forms) if isinstance(forms, MixableForms) else ()
    choice = choose(bench.measured, bench.limits)
    chosen = next(item for item in bench.tried if item.measured is bench.measured[choice.chosen])
    bench.keep(chosen)
    assert chosen.step is not None
    report = SearchReport(
        rows=task.scale.choosing.data.rows,
        budget=BUDGET,
        passed=choice.passes,
        note=_note(chosen, choice),
        candidates=_rows(bench, choice, task.original_bytes),
        sensitivity=sensitivity,
    )
    return Found(forms.opened(chosen.folder), chosen.step, report)


def _quantization(scheme: Scheme, task: Task) -> Quantization | None:
    """Return what to ask the forms for; None where data is missing."""
    if not TRAITS[scheme].needs_calibration:
        return Quantization(scheme)
    return Quantization(scheme, task.calibration) if task.calibration else None


def _note(chosen: Tried, choice: Choice) -> str:
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


def _rows(bench: Workbench, choice: Choice, original_bytes: int) -> tuple[Candidate, ...]:
    verdicts = iter(choice.verdicts)
    return tuple(
        _row(item, next(verdicts), original_bytes)
        if item.measured
        else Candidate(name=item.name, parameters=dict(item.parameters), why_not=item.failed)
        for item in bench.tried
    )


def _row(item: Tried, verdict: Verdict, original_bytes: int) -> Candidate:
    assert item.measured is not None
    found = item.measured
    return Candidate(
        name=item.name,
        parameters=dict(item.parameters),
        bytes=found.bytes,
        ratio=round(original_bytes / found.bytes, 4),
        score=found.score,
        score_interval=found.score_interval,
        drop=found.drop,
        drop_interval=found.drop_interval,
        latency=item.times,
        passed=verdict.passes,
        clearly=verdict.clearly,
        front=verdict.best,
        chosen=verdict.why_not is None,
        why_not=verdict.why_not,
    )
