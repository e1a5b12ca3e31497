"""Makes and measures the candidates of `scheme: Auto`, one by one, on the half of the data that chooses.

A candidate that cannot be had is kept with its reason. What was made is left on disk and closed, so that
memory does not grow with the number of candidates.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.evaluation import Evaluation
from modelpress.compression.auto.choice import MeasuredCandidate, ScoreLimits, limits_of
from modelpress.compression.evaluation import latency
from modelpress.compression.evaluation.evaluation import CallableModel, Reference
from modelpress.compression.evaluation.latency import Timing
from modelpress.compression.evaluation.rules import Rule
from modelpress.compression.formats.base import Format
from modelpress.compression.report.document import EvaluationReport, Latency, PassReport
from modelpress.compression.report.readable import percent, points
from modelpress.compression.schemes import Algorithm
from modelpress.logs import progress

_log = logging.getLogger(__name__)
NO_CALIBRATION = "needs data.calibration"
BUDGET = 12  # candidates that are measured
SECONDS = 0.5  # seconds of timing for each candidate and batch size
Make = Callable[[Path], tuple[Format, PassReport]]  # a format in a folder


@dataclass(frozen=True)
class CandidateMeasure:
    """What candidates are measured with."""

    choosing: Reference
    rules: Mapping[str, Rule]  # how each output is scored
    limits: Evaluation
    float32: CallableModel  # the original; times are taken alternately with it
    timing: Timing


@dataclass(frozen=True)
class Candidate:
    """A candidate; where `measured` is None, `failed` says why."""

    name: str
    parameters: Mapping[str, str]
    folder: Path
    measured: MeasuredCandidate | None = None
    step: PassReport | None = None
    scores: EvaluationReport | None = None
    times: tuple[Latency, ...] = ()
    seconds: float | None = None  # to make it
    failed: str | None = None

    @property
    def algorithm(self) -> Algorithm | None:
        """By which algorithm its integers were made, where its scheme has several."""
        found = self.step.parameters.get("algorithm") if self.step else None
        return Algorithm(found) if found else None


@dataclass
class Search:
    """The candidates so far, in the order in which they were made."""

    measure: CandidateMeasure
    folder: Path
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many more may be measured."""
        return BUDGET - sum(item.failed is None for item in self.candidates)

    @property
    def limits(self) -> ScoreLimits:
        """The limits as numbers."""
        return limits_of(self.measure.limits)

    @property
    def measured(self) -> list[MeasuredCandidate]:
        """Those that work."""
        return [item.measured for item in self.candidates if item.measured]

    def skip(self, name: str, parameters: Mapping[str, str], reason: str) -> None:
        """Keep a candidate that is not even tried."""
        self.candidates.append(Candidate(name, parameters, self.folder, failed=reason))

    def add(self, label: tuple[str, Mapping[str, str]], make: Make, more: int) -> Candidate:
        """Make and measure a candidate of a name and parameters; `more` are planned behind it."""
        name, parameters = label
        number = len(self.candidates) + 1
        progress(_log, "candidate", number, number + more, doing=name)
        candidate = Candidate(name, parameters, self.folder / str(number))
        try:
            start = time.perf_counter()
            format, step = make(candidate.folder)
            seconds = time.perf_counter() - start
            candidate = self._measure(replace(candidate, step=step, seconds=seconds), format)
        except DataError as error:
            if error.reason is not Reason.UNSUPPORTED_MODEL:
                raise
            candidate = replace(candidate, failed=error.message)
        except MemoryError as error:  # the converter's process had too little
            candidate = replace(candidate, failed=f"out of memory: {error}")
        if candidate.failed:
            shutil.rmtree(candidate.folder, ignore_errors=True)
        self.candidates.append(candidate)
        _log.info("candidate %d/%d %s: %s", number, number + more, name, describe(candidate))
        return candidate

    def keep(self, chosen: Candidate) -> None:
        """Remove the files of all others."""
        for item in self.candidates:
            if item is not chosen and item.folder != self.folder:
                shutil.rmtree(item.folder, ignore_errors=True)

    def _measure(self, candidate: Candidate, format: Format) -> Candidate:
        outputs, rules = self.folder / "outputs", self.measure.rules
        try:
            compared = self.measure.choosing.compare(rules, format.model, outputs, "evaluate the candidate")
        finally:
            shutil.rmtree(outputs, ignore_errors=True)  # no two candidates write to the same files
        scores = compared.scores
        if scores.invalid:
            return replace(candidate, failed=scores.invalid)
        times = latency.measure(self.measure.float32, format.model, self.measure.timing)
        measured = MeasuredCandidate(
            name=candidate.name,
            bytes=format.bytes,
            score=scores.compressed,
            drop=scores.drop,
            times=tuple(item.compressed / item.original for item in times),
            score_interval=scores.compressed_interval,
            drop_interval=scores.drop_interval,
        )
        return replace(candidate, measured=measured, scores=scores, times=times)


def describe(candidate: Candidate) -> str:
    """Return a line about a candidate."""
    if candidate.failed or not candidate.measured:
        return candidate.failed or ""
    found = candidate.measured
    speeds = " / ".join(f"{item.speedup:.2f}x" for item in candidate.times) or "not compared"
    by = f" by {candidate.algorithm}" if candidate.algorithm else ""
    return (
        f"{found.bytes:,} bytes, score {percent(found.score)}, drop {points(found.drop)}, speed {speeds},"
        f" made in {candidate.seconds or 0:.1f} s{by}"
    )
