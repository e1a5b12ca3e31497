"""How the quality of a compressed model is judged: metrics, thresholds and limits."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from modelpress.api.base import ApiModel
from modelpress.api.values import Bytes, DecimalString, Points, Score, rule


class Metric(StrEnum):
    """A score in percent; higher is better."""

    ACCURACY = "Accuracy"
    AGREEMENT = "Agreement"
    COSINE_SIMILARITY = "CosineSimilarity"
    R2 = "R2"
    FIDELITY = "Fidelity"
    BALANCED_ACCURACY = "BalancedAccuracy"
    F1 = "F1"
    MULTI_LABEL_ACCURACY = "MultiLabelAccuracy"
    AUC = "AUC"
    TOP_K_ACCURACY = "TopKAccuracy"


DECIDING = frozenset(
    {Metric.ACCURACY, Metric.AGREEMENT, Metric.BALANCED_ACCURACY, Metric.F1, Metric.MULTI_LABEL_ACCURACY}
)  # those that compare decisions, not numbers


class Scoring(ApiModel):
    """A metric and its limits."""

    cel: ClassVar[tuple[dict[str, str], ...]] = (
        rule(
            "!has(self.threshold) || !has(self.metric) || "
            f"self.metric in {[metric.value for metric in Metric if metric in DECIDING]}",
            "threshold needs a metric of decisions: "
            + ", ".join(metric.value for metric in Metric if metric in DECIDING),
            ".threshold",
        ),
    )
    metric: Metric | None = Field(
        None,
        description="Agreement, CosineSimilarity and Fidelity compare with the original, the others need "
        "labels. Unset: chosen by the labels and the outputs; the status says which.",
    )
    threshold: DecimalString | None = Field(
        None,
        description="Outputs of one column, and those of MultiLabelAccuracy, say yes above it. Unset: 0.5 "
        "where all outputs of the original are from 0 to 1, else 0.",
    )
    min_score: Score | None = Field(None, description="Lowest score of the compressed model.")
    max_drop: Points | None = Field(
        None, description="Largest loss of score against the original model, in percentage points."
    )


class OutputEvaluation(Scoring):
    """How one output is judged; what is unset is as for all outputs."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="The output.")


class Evaluation(Scoring):
    """The quality gate: a compressed model that misses a limit is not rolled out."""

    cel = (
        *Scoring.cel,
        rule(
            "has(self.minScore) || has(self.maxDrop) || has(self.maxSize) || has(self.outputs)",
            "at least one of minScore, maxDrop, maxSize and outputs must be set",
        ),
        rule(
            "!has(self.outputs) || "
            "self.outputs.all(item, self.outputs.exists_one(other, other.name == item.name))",
            "each output may be named once",
            ".outputs",
        ),
    )
    max_size: Bytes | None = Field(None, description="Largest size of the serving format.")
    outputs: Annotated[tuple[OutputEvaluation, ...], Field(max_length=16)] | None = Field(
        None, description="Outputs that are judged in another way than the others, by their names."
    )

    def of_output(self, name: str) -> Scoring:
        """Return how an output is judged: its own entry, completed by what holds for all.

        A threshold for all is left out where the output has a metric of its own.
        """
        own = next((item for item in self.outputs or () if item.name == name), None)
        if own is None:
            return self
        common = None if own.metric else self.threshold
        return Scoring(
            metric=own.metric or self.metric,
            threshold=own.threshold or common,
            min_score=own.min_score or self.min_score,
            max_drop=own.max_drop or self.max_drop,
        )
