"""What `scheme: Auto` promises, checked on a trained model: against its own candidates, and against
Int8Dynamic judged on the same rows.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelpress.api.evaluation import Metric
from modelpress.api.schemes import Scheme
from modelpress.compression.evaluation import holdout
from modelpress.compression.report.document import EvaluationReport, SearchReport
from tests.support.models.compressed import Made, compress
from tests.support.models.small import TrainedModel

MAX_DROP = 0.5  # percentage points
SMALL = 3.5  # times


@dataclass(frozen=True)
class Outcome:
    """Both models were judged on the rows that chose nothing."""

    auto: Made
    dynamic: Made

    @property
    def search(self) -> SearchReport:
        assert self.auto.report.search is not None
        return self.auto.report.search

    def broken(self) -> list[str]:
        """Return the promises that do not hold."""
        chosen, dynamic = _scores(self.auto), _scores(self.dynamic)
        sizes, others = self.auto.report.sizes, self.dynamic.report.sizes
        passes, lines = chosen.drop <= MAX_DROP, []
        if not passes and dynamic.drop <= MAX_DROP:
            lines.append("fails where Int8Dynamic passes")
        if not passes and sizes.compressed_bytes > others.compressed_bytes and chosen.drop >= dynamic.drop:
            lines.append("fails, and is larger than Int8Dynamic without being better")
        slow = "times as slow"  # not a promise: times are no matter of a test
        small = [
            item
            for item in self.search.candidates
            if item.clearly and (item.ratio or 0) >= SMALL and slow not in (item.why_not or "")
        ]
        if small and not (sizes.ratio >= SMALL and passes):
            lines.append(f"{small[0].name} is {SMALL}x smaller and passes, and was not taken")
        if not any(item.passed for item in self.search.candidates) and "no candidate" not in self.search.note:
            lines.append("does not say that none passes")
        return lines


def run(model: TrainedModel, metric: Metric, folder: Path) -> Outcome:
    """Compress with Auto, then with Int8Dynamic on the rows that judged."""
    with np.load(model.evaluation) as file:
        arrays = dict(file)
    judging = holdout.split_indices(len(arrays["y"]))[1]
    folder.mkdir(parents=True, exist_ok=True)
    judged = folder / "judging.npz"
    rows = {name: array[judging] for name, array in arrays.items()}
    np.savez(judged, allow_pickle=False, **rows)
    limits = {"metric": metric.value, "maxDrop": f"{MAX_DROP}%"}
    data = {
        "calibration": {"uri": model.calibration.as_uri()},
        "evaluation": {"uri": model.evaluation.as_uri()},
    }
    auto = compress(model, Scheme.AUTO, folder / "auto", evaluation=limits, data=data)
    other = TrainedModel(model.path, judged, model.calibration)
    return Outcome(auto, compress(other, Scheme.INT8_DYNAMIC, folder / "dynamic", evaluation=limits))


def _scores(made: Made) -> EvaluationReport:
    assert made.report.evaluation is not None
    return made.report.evaluation
