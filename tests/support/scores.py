"""Scores of outputs by one metric."""

from collections.abc import Mapping

from modelpress.api.evaluation import Evaluation, Metric
from modelpress.compression.evaluation import evaluation, rules
from modelpress.compression.report.document import EvaluationReport
from modelpress.models.types import Array


def scored(
    metric: Metric | None,
    labels: Mapping[str, Array],
    original: Mapping[str, Array],
    compressed: Mapping[str, Array],
) -> EvaluationReport:
    """Return the scores of the outputs; without a metric by the one that fits."""
    wanted = Evaluation(metric=metric, max_size="1Gi")
    return evaluation.score(rules.of_outputs(wanted, labels, original), labels, original, compressed)
