"""report.json: what was done to a model, tensor by tensor, and what was measured.

Written by the pipeline, read by `modelpress report`.
"""

import json
from pathlib import Path

from pydantic import Field, ValidationError

from modelpress.api.base import ApiModel
from modelpress.api.conditions import Reason
from modelpress.api.contract import OutputScores, Scores
from modelpress.api.errors import DataError, MissingError
from modelpress.api.evaluation import Metric
from modelpress.artifacts import documents
from modelpress.artifacts.manifest import REPORT_FILE, InputSizes, TensorSpec

SCHEMA_VERSION = 1


class FormulaReport(ApiModel):
    """x_q = round(x * scale + bias) of an integer tensor."""

    axis: int | None = Field(None, description="Axis of the channels; unset where one number holds for all.")
    scale: tuple[float, ...] = Field(description="One for each channel.")
    bias: tuple[int, ...] = Field(description="Zero point, one for each channel.")
    largest_error: float = Field(
        description="Largest |x * scale + bias - q| of all elements; at most 0.5001, but with GPTQ."
    )
    elements_off: int = Field(0, description="Elements above 0.5001.")


class TensorReport(ApiModel):
    """What one pass did to one tensor."""

    name: str = Field(description="Name in the model, or in the serving format where they cannot be matched.")
    role: str | None = Field(None, description="kernel, embedding, bias, normalization, statistics or other.")
    shape: tuple[int, ...] = Field(description="Its shape.")
    elements: int = Field(description="Number of elements.")
    changed: int = Field(0, description="Elements that the pass changed.")
    skipped: str | None = Field(None, description="Why the pass left the tensor as it is.")
    bytes_before: int | None = Field(None, description="Bytes before the pass, where it changes them.")
    bytes_after: int | None = Field(None, description="Bytes after the pass.")
    served_as: str | None = Field(None, description="Name in the serving format, where the pass makes it.")
    facts: dict[str, float] = Field(default_factory=dict, description="Such as threshold and sparsity.")
    formula: FormulaReport | None = Field(None, description="Of integer tensors.")


class ActivationReport(ApiModel):
    """A tensor that the serving format computes in integers: x_q = round(x * scale + bias)."""

    name: str = Field(description="Name in the serving format.")
    scale: float = Field(description="One for the whole tensor.")
    bias: int = Field(description="Zero point.")


class EpochReport(ApiModel):
    """The state after one pass over data.training; epoch 0 is before the first."""

    epoch: int = Field(description="Its number.")
    learning_rate: float = Field(description="The rate before its decay over the last 30 % of the steps.")
    loss: float = Field(description="L: mean loss over all rows, in inference mode.")
    nonzero: int | None = Field(None, description="norm0 of kernels and embeddings; with l0Penalty only.")
    objective: float | None = Field(None, description="L + lambda * norm0; with l0Penalty only.")
    rejected_objective: float | None = Field(
        None, description="The objective had risen to this: the epoch was taken back, the rate halved."
    )


class TrainingReport(ApiModel):
    """How weights were trained: the learning rate with what it follows from, and the loss."""

    learning_rate: float = Field(description="alpha.")
    by_formula: bool = Field(
        description="0.01 * batch^-0.5 * layers^-0.25 * parameters^-0.1; false: the spec sets it."
    )
    batch: int = Field(description="Rows of a training batch.")
    layers: int = Field(description="Kernels and embeddings that are trained.")
    parameters: int = Field(description="Elements that are trained.")
    rows: int = Field(description="Rows of data.training.")
    losses: dict[str, str] = Field(description="The loss of each output that is trained.")
    epochs: tuple[EpochReport, ...] = Field(description="Before the first epoch, and after each.")


class PassReport(ApiModel):
    """What one pass did."""

    name: str = Field(description="pruning, fineTuning, weightClipping or quantization.")
    parameters: dict[str, str] = Field(default_factory=dict, description="As in the spec.")
    note: str | None = Field(None, description="What a reader must know of it.")
    training: TrainingReport | None = Field(None, description="Of fineTuning, and of pruning by l0Penalty.")
    tensors: tuple[TensorReport, ...] = Field(description="All tensors, changed or not.")
    activations: tuple[ActivationReport, ...] = Field(
        (), description="Those computed in integers of a fixed scale."
    )


class WeightReport(ApiModel):
    """A variable of the original model."""

    name: str = Field(description="Its name.")
    role: str = Field(description="What it does.")
    shape: tuple[int, ...] = Field(description="Its shape.")
    dtype: str = Field(description="Its dtype.")
    bytes: int = Field(description="Its bytes as float32.")


class SourceReport(ApiModel):
    """The original model."""

    file: str = Field(description="Name of the file or directory.")
    kind: str = Field(description="KerasLayers, SavedModel or LiteRT.")
    digest: str = Field(description="sha256:...")
    inputs: tuple[TensorSpec, ...] = Field(description="Its inputs.")
    outputs: tuple[TensorSpec, ...] = Field(description="Its outputs.")
    weights: tuple[WeightReport, ...] = Field(description="Its variables.")


class LayerSize(ApiModel):
    """Bytes of one layer; all layers together are those of the whole model."""

    name: str = Field(description="Name of the layer, or what else takes bytes in brackets.")
    before: int = Field(description="Bytes of its weights in float32.")
    after: int = Field(description="Bytes in the serving format.")


class TensorHistogram(ApiModel):
    """How the values of a kernel or embedding lie, in equal bins from `low` to `high`.

    Of tensors with more than a million elements an evenly spaced sample is counted.
    """

    name: str = Field(description="Name in the model.")
    low: float = Field(description="Smallest value of the original.")
    high: float = Field(description="Largest value of the original.")
    before: tuple[int, ...] = Field(max_length=48, description="Elements of the original in each bin.")
    after: tuple[int, ...] | None = Field(
        None,
        max_length=48,
        description="Elements of the serving format; those beyond the range are in the outermost bins.",
    )


class Sizes(ApiModel):
    """How much smaller the model became."""

    original_bytes: int = Field(description="Bytes of the original weights in float32.")
    float32_bytes: int = Field(description="Bytes of the original as a float32 serving format.")
    compressed_bytes: int = Field(description="Bytes of the serving format.")
    ratio: float = Field(description="originalBytes / compressedBytes.")


Bounds = tuple[float, float]  # lower and upper end of a 95 % confidence interval


class OutputScore(ApiModel):
    """Scores of one output, in percent."""

    name: str = Field(description="The output.")
    metric: Metric | None = Field(None, description="Its metric; unset: that of all outputs.")
    original: float = Field(description="Score of the original.")
    compressed: float = Field(description="Score of the serving format.")
    compressed_interval: Bounds | None = Field(None, description="95 % interval of the compressed score.")
    drop_interval: Bounds | None = Field(None, description="95 % interval of the drop, paired by row.")
    note: str | None = Field(None, description="What a reader must know of the score.")


class MetricScores(ApiModel):
    """Scores of one metric on data.evaluation, in percent; those of the worst output count."""

    metric: Metric = Field(description="The metric.")
    original: float = Field(description="Score of the original.")
    original_interval: Bounds | None = Field(
        None, description="95 % interval; unset where the original is compared with itself."
    )
    compressed: float = Field(description="Score of the serving format.")
    compressed_interval: Bounds | None = Field(None, description="95 % interval of the compressed score.")
    drop: float = Field(description="Largest original - compressed of one output, in percentage points.")
    drop_interval: Bounds | None = Field(None, description="95 % interval of the drop, paired by row.")
    interval_method: str | None = Field(None, description="How the intervals were computed.")
    outputs: tuple[OutputScore, ...] = Field(description="All outputs.")


class NotMeasured(ApiModel):
    """A metric that the data does not allow."""

    metric: Metric = Field(description="The metric.")
    reason: str = Field(description="Why it was not measured.")


class Confusion(ApiModel):
    """Decisions against labels of one output; rows are labels, columns are decisions."""

    output: str = Field(description="The output.")
    classes: tuple[str, ...] = Field(
        max_length=25, description="The classes with most labels; `other` stands for all further ones."
    )
    original: tuple[tuple[int, ...], ...] = Field(description="Counts of the original.")
    compressed: tuple[tuple[int, ...], ...] = Field(description="Counts of the serving format.")


class OutputLimits(ApiModel):
    """Limits of one output."""

    name: str = Field(description="The output.")
    min_score: str | None = Field(None, description="As in the spec.")
    max_drop: str | None = Field(None, description="As in the spec.")


class LimitsReport(ApiModel):
    """Limits of the spec when the artifact was made; an artifact may be judged by others later."""

    min_score: str | None = Field(None, description="As in the spec.")
    max_drop: str | None = Field(None, description="As in the spec.")
    max_size: str | None = Field(None, description="As in the spec.")
    outputs: tuple[OutputLimits, ...] = Field((), description="Of outputs that have their own.")


class EvaluationReport(MetricScores):
    """The metric that the gate judges, and all others that the data allows."""

    rows: int = Field(description="Rows of the data.")
    invalid: str | None = Field(None, description="Why the compressed score does not count.")
    limits: LimitsReport | None = Field(None, description="The limits when the artifact was made.")
    others: tuple[MetricScores, ...] = Field(
        (), description="Scores of the other metrics; no limit is on them."
    )
    not_measured: tuple[NotMeasured, ...] = Field((), description="Metrics that the data does not allow.")
    confusion: tuple[Confusion, ...] = Field((), description="Of outputs with labels that are classes.")


class Latency(ApiModel):
    """Median time of one call on the machine that compressed, in microseconds; see `latency_of`."""

    batch: int = Field(description="Rows of the call.")
    original: float = Field(description="The original as a float32 serving format.")
    compressed: float = Field(description="The serving format.")
    speedup: float = Field(description="original / compressed.")


class CandidateReport(ApiModel):
    """A format that `scheme: Auto` tried, as it was measured on the half of the data that chooses."""

    name: str = Field(description="Such as Int8Dynamic.")
    parameters: dict[str, str] = Field(
        default_factory=dict, description="Its scheme, and for other schemes the operators that have them."
    )
    bytes: int | None = Field(None, description="Of the format; unset where it could not be made.")
    ratio: float | None = Field(None, description="originalBytes / bytes.")
    score: float | None = Field(None, description="In percent; unset where it was not measured.")
    score_interval: Bounds | None = Field(None, description="95 % interval of the score.")
    drop: float | None = Field(None, description="In percentage points.")
    drop_interval: Bounds | None = Field(None, description="95 % interval of the drop, paired by row.")
    latency: tuple[Latency, ...] = Field(
        (), description="The fastest of many calls, alternately with the original in float32."
    )
    seconds: float | None = Field(None, description="To make it, without measuring it.")
    passed: bool = Field(False, description="Whether it passes the limits on this half.")
    clearly: bool = Field(False, description="Whether as much other data would most likely say so too.")
    front: bool = Field(False, description="No other one is both as small and as good: the Pareto front.")
    chosen: bool = Field(False, description="This one serves.")
    why_not: str | None = Field(None, description="Why it was not chosen, or not measured.")


class Sensitivity(ApiModel):
    """What quantizing some operators alone does to the outputs."""

    operators: tuple[str, ...] = Field(description="Names in the float32 format, neighbours.")
    scheme: str = Field(description="What they were quantized to.")
    bytes: int = Field(description="Of their weights in float32.")
    damage: float | None = Field(
        None, description="Relative error of the outputs; unset where that did not work."
    )


class SearchReport(ApiModel):
    """How `scheme: Auto` chose."""

    rows: int = Field(description="Rows of data.evaluation that chose; the others gave the scores.")
    budget: int = Field(description="The most candidates that are measured.")
    passed: bool = Field(description="Whether any candidate passes the limits on the rows that chose.")
    note: str = Field(description="What was chosen and why, in one sentence.")
    candidates: tuple[CandidateReport, ...] = Field(description="In the order in which they were tried.")
    sensitivity: tuple[Sensitivity, ...] = Field(
        (), description="Those with most damage first; only where mixtures were tried."
    )


class StepReport(ApiModel):
    """What one step of the compression took."""

    name: str = Field(description="Such as load or convert.")
    seconds: float = Field(description="Its time.")
    peak_bytes: int | None = Field(
        None,
        description="Largest memory of all processes of the compression, TensorFlow's own included; pages"
        " that they share count for each. Unset where it cannot be measured.",
    )


class Report(ApiModel):
    """Content of report.json."""

    schema_version: int = Field(SCHEMA_VERSION, description="Raised when an old reader cannot read it.")
    name: str = Field(description="Name of the ModelDeployment it was made for.")
    recipe: dict[str, str] = Field(description="What was asked for, such as scheme: Int8Dynamic.")
    recipe_hash: str = Field(description="As in the request.")
    artifact_key: str = Field(description="Hash of contents, recipe and compressor version.")
    versions: dict[str, str] = Field(description="Of ModelPress and of the libraries that did the work.")
    source: SourceReport = Field(description="The original model.")
    sizes: Sizes = Field(description="How much smaller it became.")
    passes: tuple[PassReport, ...] = Field(description="What was done, in order.")
    evaluation: EvaluationReport | None = Field(None, description="Unset without evaluation.")
    latency: tuple[Latency, ...] = Field((), description="For batches of 1 and 32 rows.")
    latency_of: str | None = Field(None, description="What computed while latency was measured.")
    input_sizes: InputSizes | None = Field(
        None, description="Of inputs with a free size beside the batch: what longer ones take."
    )
    search: SearchReport | None = Field(None, description="With scheme Auto: all candidates.")
    layers: tuple[LayerSize, ...] = Field((), description="Where the bytes are, before and after.")
    histograms: tuple[TensorHistogram, ...] = Field(
        (), max_length=60, description="Values of the largest kernels and embeddings."
    )
    steps: tuple[StepReport, ...] = Field((), description="Time and memory, until this report was written.")
    warnings: tuple[str, ...] = Field((), description="What a reader should know.")

    def to_json(self) -> str:
        """Return the text of report.json."""
        wire = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(wire, indent=1, allow_nan=False) + "\n"


def save(report: Report, folder: Path) -> None:
    """Write report.json into `folder`."""
    (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")


def scores(found: EvaluationReport) -> Scores:
    """Return what the gate judges."""
    return Scores(
        metric=found.metric,
        original=found.original,
        compressed=found.compressed,
        drop=found.drop if len(found.outputs) > 1 else None,
        rows=found.rows,
        outputs=tuple(
            OutputScores(
                name=output.name,
                metric=output.metric or found.metric,
                original=output.original,
                compressed=output.compressed,
            )
            for output in found.outputs
            if found.limits and found.limits.outputs
        ),
    )


def load(folder: Path) -> Report:
    """Read the report.json of `folder`. Raises MissingError (ArtifactLost), DataError (ArtifactCorrupt)."""
    path = folder / REPORT_FILE
    try:
        report = Report.model_validate_json(documents.read(path, documents.MAX_REPORT))
    except FileNotFoundError as error:
        raise MissingError(Reason.ARTIFACT_LOST, f"{path}: no such file; it is not an artifact") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{path}: {where}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{path}: cannot be read as text") from error
    if report.schema_version > SCHEMA_VERSION:
        raise DataError(
            Reason.ARTIFACT_CORRUPT,
            f"{path}: schemaVersion {report.schema_version} was written by a newer release;"
            f" this one reads up to {SCHEMA_VERSION}",
        )
    return report


def schema() -> str:
    """Return the JSON schema of report.json, docs/report.schema.json."""
    found = Report.model_json_schema(by_alias=True, mode="validation")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://modelpress.dev/schemas/report-v{SCHEMA_VERSION}.json",
    }
    return json.dumps({**head, **found}, indent=2) + "\n"
