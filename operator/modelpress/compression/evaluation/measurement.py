"""What the original answers on data.evaluation, and how a format compares with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelpress.api.evaluation import Evaluation
from modelpress.compression.evaluation import details, evaluation, holdout, latency, rules
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.compression.evaluation.evaluation import Reference
from modelpress.compression.evaluation.rules import Rule
from modelpress.compression.formats.base import Format, example
from modelpress.compression.report.document import EvaluationReport
from modelpress.models.types import Array, ComputationError, LoadedModel, unsupported


@dataclass(frozen=True)
class Measurement:
    """The original's outputs on the rows that judge, and for scheme Auto on those that choose."""

    limits: Evaluation
    rules: Mapping[str, Rule]  # how each output is scored; those of the rows that judge
    judging: Reference
    choosing: Reference | None = None


def of_original(
    model: LoadedModel, data: Dataset, limits: Evaluation, folder: Path, *, choose: bool
) -> Measurement:
    """Compute the outputs on all rows; `choose`: on two halves. Files are below the folder `folder`.

    Raises InvalidData where there are too few rows for two halves, or a metric does not fit.
    """
    judging, choosing = data, None
    if choose:
        both = holdout.split(data, folder / "halves")
        judging, choosing = both.judging, both.choosing
    first = evaluation.reference(model, model.inputs, judging, folder / "predictions" / "judging")
    found = rules.of_outputs(limits, judging.labels, first.outputs)
    if choosing is None:
        return Measurement(limits, found, first)
    second = evaluation.reference(model, model.inputs, choosing, folder / "predictions" / "choosing")
    return Measurement(limits, found, first, second)


def sample(model: LoadedModel, measured: Measurement | None) -> dict[str, Array]:
    """Return a batch of real rows; without data, of random numbers.

    Raises UnsupportedModel where the model does not compute these.
    """
    if measured is None:
        rows = example(model.inputs)
        try:
            model.call(rows)
        except ComputationError as error:
            raise unsupported(
                f"the model does not compute random rows ({error}): give data.evaluation and evaluation, then"
                " real ones are taken"
            ) from error
        return rows
    found = measured.choosing or measured.judging  # what is decided by these rows is not judged on them
    return dict(latency.resized(found.data.batch(0, min(found.batch, found.data.rows)), found.batch))


def score(format: Format, measured: Measurement, folder: Path) -> EvaluationReport:
    """Score a format on the rows that judge; its outputs are in the folder `folder`."""
    reference = measured.judging
    found = reference.compare(measured.rules, format.model, folder, "evaluate the result")
    outputs = details.Outputs(reference.data.labels, reference.outputs, found.outputs)
    return details.complete(found.scores, measured.limits, outputs)
