"""What the original answers on data.evaluation, and how a format compares with it."""

from dataclasses import dataclass
from pathlib import Path

from modelpress.api.spec import Evaluation
from modelpress.compression.evaluation import details, evaluation, holdout, latency
from modelpress.compression.evaluation.dataset import Dataset
from modelpress.compression.evaluation.evaluation import Reference
from modelpress.compression.formats.base import Format, example
from modelpress.compression.report.document import EvaluationReport
from modelpress.models.types import Array, ComputationError, LoadedModel, unsupported


@dataclass(frozen=True)
class Measurement:
    """The original's outputs on the rows that judge, and for scheme Auto on those that choose."""

    judging: Reference
    choosing: Reference | None = None


def of_original(model: LoadedModel, data: Dataset, folder: Path, *, choose: bool) -> Measurement:
    """Compute the outputs on all rows; `choose`: on two halves. Files are below the folder `folder`.

    Raises InvalidData where there are too few rows for two halves.
    """
    if not choose:
        return Measurement(evaluation.reference(model, model.inputs, data, folder / "predictions"))
    both = holdout.split(data, folder / "halves")
    judging, choosing = (
        evaluation.reference(model, model.inputs, half, folder / "predictions" / name)
        for name, half in (("judging", both.judging), ("choosing", both.choosing))
    )
    return Measurement(judging, choosing)


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
    found = measured.judging
    return dict(latency.resized(found.data.batch(0, min(found.batch, found.data.rows)), found.batch))


def score(limits: Evaluation, format: Format, measured: Measurement, folder: Path) -> EvaluationReport:
    """Score a format on the rows that judge; its outputs are in the folder `folder`."""
    reference = measured.judging
    found = reference.compare(limits.metric, format.model, folder, "evaluate the result")
    outputs = details.Outputs(reference.data.labels, reference.outputs, found.outputs)
    return details.complete(found.scores, limits, outputs)
