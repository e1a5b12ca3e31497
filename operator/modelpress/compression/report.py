"""report.json: what was done to a model, tensor by tensor, and what was measured.

Written by the pipeline, read by `modelpress report`. Must not import TensorFlow or LiteRT.
"""

import json
from pathlib import Path

from pydantic import Field, ValidationError

from modelpress.api.base import ApiModel
from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, MissingError
from modelpress.api.spec import Metric
from modelpress.artifacts.manifest import REPORT_FILE, TensorSpec

SCHEMA_VERSION = 1


class Formula(ApiModel):
    """x_q = round(x * scale + bias) of an integer tensor."""

    axis: int | None = Field(None, description="Axis of the channels; unset where one number holds for all.")
    scale: tuple[float, ...] = Field(description="One for each channel.")
    bias: tuple[int, ...] = Field(description="Zero point, one for each channel.")
    largest_error: float = Field(
        description="Largest |x * scale + bias - q| of all elements; at most 0.5001."
    )
    elements_off: int = Field(0, description="Elements above 0.5001.")


class TensorReport(ApiModel):
    """What one pass did to one tensor."""

    name: str = Field(description="Name in the model, or in the serving form where they cannot be matched.")
    role: str | None = Field(None, description="kernel, embedding, bias, normalization, statistics or other.")
    shape: tuple[int, ...] = Field(description="Its shape.")
    elements: int = Field(description="Number of elements.")
    changed: int = Field(0, description="Elements that the pass changed.")
    skipped: str | None = Field(None, description="Why the pass left the tensor as it is.")
    bytes_before: int | None = Field(None, description="Bytes before the pass, where it changes them.")
    bytes_after: int | None = Field(None, description="Bytes after the pass.")
    facts: dict[str, float] = Field(default_factory=dict, description="Such as threshold and sparsity.")
    formula: Formula | None = Field(None, description="Of integer tensors.")


class PassReport(ApiModel):
    """What one pass did."""

    name: str = Field(description="pruning, weightClipping or quantization.")
    parameters: dict[str, str] = Field(default_factory=dict, description="As in the spec.")
    note: str | None = Field(None, description="What a reader must know of it.")
    tensors: tuple[TensorReport, ...] = Field(description="All tensors, changed or not.")


class WeightReport(ApiModel):
    """A variable of the original model."""

    name: str = Field(description="Its name.")
    role: str = Field(description="What it does.")
    shape: tuple[int, ...] = Field(description="Its shape.")
    dtype: str = Field(description="Its dtype.")
    bytes: int = Field(description="Its bytes as float32.")


class Source(ApiModel):
    """The original model."""

    file: str = Field(description="Name of the file or directory.")
    kind: str = Field(description="KerasLayers or SavedModel.")
    digest: str = Field(description="sha256:...")
    inputs: tuple[TensorSpec, ...] = Field(description="Its inputs.")
    outputs: tuple[TensorSpec, ...] = Field(description="Its outputs.")
    weights: tuple[WeightReport, ...] = Field(description="Its variables.")


class Sizes(ApiModel):
    """How much smaller the model became."""

    original_bytes: int = Field(description="Bytes of the original weights in float32.")
    float32_bytes: int = Field(description="Bytes of the original as a float32 .tflite file.")
    compressed_bytes: int = Field(description="Bytes of the serving form.")
    ratio: float = Field(description="originalBytes / compressedBytes.")


class OutputScore(ApiModel):
    """Scores of one output, in percent."""

    name: str = Field(description="The output.")
    original: float = Field(description="Score of the original.")
    compressed: float = Field(description="Score of the serving form.")


class EvaluationReport(ApiModel):
    """Scores on data.evaluation, in percent; those of the worst output count."""

    metric: Metric = Field(description="The metric.")
    rows: int = Field(description="Rows of the data.")
    original: float = Field(description="Score of the original.")
    compressed: float = Field(description="Score of the serving form.")
    drop: float = Field(description="Largest original - compressed of one output, in percentage points.")
    drop_interval: tuple[float, float] | None = Field(
        None, description="95 % interval of the drop, paired by row; unset for R2."
    )
    outputs: tuple[OutputScore, ...] = Field(description="All outputs.")
    invalid: str | None = Field(None, description="Why the compressed score does not count.")


class Latency(ApiModel):
    """Median time of one call on one thread of the machine that compressed, in microseconds."""

    batch: int = Field(description="Rows of the call.")
    original: float = Field(description="The original as a float32 .tflite file.")
    compressed: float = Field(description="The serving form.")
    speedup: float = Field(description="original / compressed.")


class Report(ApiModel):
    """Content of report.json."""

    schema_version: int = Field(SCHEMA_VERSION, description="Raised when an old reader cannot read it.")
    name: str = Field(description="Name of the ModelDeployment it was made for.")
    recipe: dict[str, str] = Field(description="What was asked for, such as scheme: Int8Dynamic.")
    recipe_hash: str = Field(description="As in the request.")
    artifact_key: str = Field(description="Hash of contents, recipe and compressor version.")
    versions: dict[str, str] = Field(description="Of ModelPress and of the libraries that did the work.")
    source: Source = Field(description="The original model.")
    sizes: Sizes = Field(description="How much smaller it became.")
    passes: tuple[PassReport, ...] = Field(description="What was done, in order.")
    evaluation: EvaluationReport | None = Field(None, description="Unset without evaluation.")
    latency: tuple[Latency, ...] = Field((), description="For batches of 1 and 32 rows.")
    warnings: tuple[str, ...] = Field((), description="What a reader should know.")

    def to_json(self) -> str:
        """Return the text of report.json."""
        wire = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(wire, indent=1, allow_nan=False) + "\n"


def save(report: Report, folder: Path) -> None:
    """Write report.json into `folder`."""
    (folder / REPORT_FILE).write_text(report.to_json(), encoding="utf-8")


def load(folder: Path) -> Report:
    """Read the report.json of `folder`. Raises MissingError (ArtifactLost), DataError (ArtifactCorrupt)."""
    path = folder / REPORT_FILE
    try:
        return Report.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(Reason.ARTIFACT_LOST, f"{path}: no such file; it is not an artifact") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{path}: {where}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{path}: cannot be read as text") from error
