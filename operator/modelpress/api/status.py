"""The ModelDeployment status as types; the planner writes it, the CRD describes it."""

from typing import Annotated

from pydantic import Field

from modelpress.api.base import ApiModel
from modelpress.api.evaluation import Metric


class Condition(ApiModel):
    """One observation of the resource, as in metav1.Condition."""

    type: str = Field(max_length=316, description="Ready, Available, Compressed, Reconciling or Stalled.")
    status: str = Field(max_length=7, description="True, False or Unknown.")
    reason: str = Field(max_length=1024, description="One CamelCase word, documented in docs/reference.md.")
    message: str = Field(max_length=32768, description="What happened, for a person.")
    last_transition_time: str = Field(max_length=40, description="When the status last changed.")
    observed_generation: int = Field(description="Generation of the spec that this speaks of.")


class RevisionReference(ApiModel):
    """A revision: an artifact together with the pods that serve it."""

    name: str | None = Field(None, max_length=63, description="Name of its ControllerRevision.")
    source_digest: str | None = Field(None, max_length=80, description="SHA-256 of the original model.")
    recipe_hash: str | None = Field(None, max_length=64, description="Hash of what the Job depends on.")
    artifact_digest: str | None = Field(None, max_length=80, description="Image digest of the artifact.")
    worker_image: str | None = Field(None, max_length=512, description="Image of its workers.")


class Failure(ApiModel):
    """The last recipe or revision that failed; not tried again until it or the retry annotation changes."""

    recipe_hash: str | None = Field(None, max_length=64, description="The recipe that failed.")
    revision_hash: str | None = Field(
        None, max_length=64, description="The revision that failed; unset when its Job or gate failed."
    )
    retry: str | None = Field(
        None, max_length=256, description="Value of the annotation modelpress.dev/retry at that time."
    )
    job_settings: str | None = Field(
        None, max_length=64, description="Hash of spec.job and spec.storage when a Job failed."
    )
    reason: str | None = Field(None, max_length=1024, description="Why, as in the conditions.")
    message: str | None = Field(None, max_length=32768, description="Why, for a person.")


class CompressionStatus(ApiModel):
    """How much smaller the model became."""

    original_bytes: int | None = Field(None, description="Bytes of the original weights in float32.")
    compressed_bytes: int | None = Field(None, description="Bytes of the serving format.")
    ratio: str | None = Field(None, max_length=16, description="originalBytes / compressedBytes.")


class OutputStatus(ApiModel):
    """Scores of one output, in percent."""

    name: str = Field(max_length=64, description="The output.")
    metric: Metric = Field(description="Its metric.")
    original: str = Field(max_length=16, description="Score of the original model.")
    compressed: str = Field(max_length=16, description="Score of the format that serves.")


class EvaluationStatus(ApiModel):
    """Scores of the newest artifact, in percent."""

    metric: Metric | None = Field(None, description="The metric.")
    original: str | None = Field(None, max_length=16, description="Score of the original model.")
    compressed: str | None = Field(None, max_length=16, description="Score of the format that serves.")
    drop: str | None = Field(
        None, max_length=16, description="Largest loss of one output, in percentage points."
    )
    outputs: Annotated[list[OutputStatus], Field(max_length=16)] | None = Field(
        None, description="All outputs, where evaluation.outputs judges some of them in another way."
    )
    passed: bool | None = Field(None, description="Whether every limit was met.")


class Status(ApiModel):
    """What ModelPress observed."""

    observed_generation: int = Field(-1, description="Generation of the spec that this status speaks of.")
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        default_factory=list, description="Ready, Available, Compressed, Reconciling and Stalled."
    )
    replicas: int | None = Field(None, description="Worker pods that have not terminated.")
    ready_replicas: int | None = Field(None, description="Worker pods that are ready.")
    selector: str | None = Field(None, max_length=512, description="Label selector of the worker pods.")
    url: str | None = Field(None, max_length=512, description="Where the model answers inside the cluster.")
    current: RevisionReference | None = Field(None, description="The revision that serves.")
    candidate: RevisionReference | None = Field(None, description="The revision that is being made.")
    failed: Failure | None = Field(None, description="What failed last.")
    compression: CompressionStatus | None = Field(None, description="Sizes of the newest artifact.")
    evaluation: EvaluationStatus | None = Field(None, description="Scores of the newest artifact.")
