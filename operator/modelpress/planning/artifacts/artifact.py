"""What the planner remembers of an artifact, in a ControllerRevision or in the status."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelpress.api import contract
from modelpress.api.contract import parse_result
from modelpress.api.evaluation import Metric
from modelpress.api.status import OutputStatus, RevisionReference, Status
from modelpress.api.text import printable
from modelpress.planning.artifacts import gate
from modelpress.planning.artifacts.gate import Measured
from modelpress.planning.children import objects
from modelpress.planning.types import Body


@dataclass(frozen=True)
class StoreLocation:
    """Where an artifact is; a later edit of spec.storage does not move it."""

    uri: str
    secret: str | None = None  # name of a Secret


def store_in(template: Body) -> StoreLocation:
    """Return the store that the pods of a template use, as their own environment says."""
    containers = (
        *objects.items(template, "spec", "initContainers"),
        *objects.items(template, "spec", "containers"),
    )
    variables = {
        entry.get("name"): entry.get("value")
        for container in containers
        for entry in objects.items(container, "env")
    }
    secrets = {
        volume.get("name"): objects.dig(volume, "secret", "secretName")
        for volume in objects.items(template, "spec", "volumes")
    }
    return StoreLocation(
        str(variables.get(contract.STORE) or "").replace("$$", "$"),
        secrets.get(f"secret-{contract.STORAGE_SECRET}"),
    )


@dataclass(frozen=True)
class Artifact:
    """One compressed model."""

    recipe_hash: str
    source_digest: str
    artifact_digest: str
    store: StoreLocation
    artifact_key: str | None = None
    original_bytes: int | None = None
    compressed_bytes: int | None = None
    scores: Measured | None = None
    warnings: tuple[str, ...] = ()  # what a reader of its report should know
    layers: bool | None = None  # whether a model for GPUs can be cut and split; None: not known

    def to_data(self) -> dict[str, Any]:
        """Return the artifact's part of a ControllerRevision's data."""
        data: dict[str, Any] = {
            "recipeHash": self.recipe_hash,
            "sourceDigest": self.source_digest,
            "artifactDigest": self.artifact_digest,
            "artifactKey": self.artifact_key,
            "originalBytes": self.original_bytes,
            "compressedBytes": self.compressed_bytes,
            "warnings": list(self.warnings) or None,
            "layers": self.layers,
            "store": {"uri": self.store.uri} | ({"secret": self.store.secret} if self.store.secret else {}),
        }
        if self.scores:
            data["scores"] = _scores_data(self.scores)
        return {key: value for key, value in data.items() if value is not None}


def _scores_data(scores: Measured) -> dict[str, Any]:
    data: dict[str, Any] = {
        "metric": scores.metric.value,
        "original": str(scores.original),
        "compressed": str(scores.compressed),
    }
    if scores.output_drop is not None:
        data["drop"] = str(scores.output_drop)
    if scores.outputs:
        data["outputs"] = {name: _scores_data(output) for name, output in scores.outputs.items()}
    return data


def _scores(data: Mapping[str, Any]) -> Measured:
    return Measured(
        Metric(data["metric"]),
        gate.score(data["original"]),
        gate.score(data["compressed"]),
        gate.points(data["drop"]) if "drop" in data else None,
        {name: _scores(output) for name, output in data.get("outputs", {}).items()},
    )


def from_result(text: str, recipe_hash: str, store: StoreLocation) -> Artifact:
    """Return what a Job's termination message says. Raises ValueError where it is not that Job's result."""
    try:
        result = parse_result(text)
        scores = gate.measured(result.scores) if result.scores else None
    except ValueError as error:
        raise ValueError(f"the Job's result cannot be read: {error}") from error
    if result.recipe_hash != recipe_hash:
        raise ValueError("the Job's result is of another recipe")
    return Artifact(
        recipe_hash=recipe_hash,
        source_digest=result.source_digest,
        artifact_digest=result.artifact_digest,
        store=store,
        artifact_key=result.artifact_key,
        original_bytes=result.original_bytes,
        compressed_bytes=result.compressed_bytes,
        scores=scores,
        warnings=tuple(printable(line) for line in result.warnings),
        layers=result.layers,
    )


def from_data(data: Mapping[str, Any]) -> Artifact:
    """Return the artifact of a ControllerRevision's data. Raises KeyError, TypeError or ValueError."""
    scores = data.get("scores")
    return Artifact(
        recipe_hash=str(data["recipeHash"]),
        source_digest=str(data["sourceDigest"]),
        artifact_digest=str(data["artifactDigest"]),
        store=StoreLocation(str(data["store"]["uri"]), data["store"].get("secret")),
        artifact_key=data.get("artifactKey"),
        original_bytes=data.get("originalBytes"),
        compressed_bytes=data.get("compressedBytes"),
        scores=_scores(scores) if scores else None,
        warnings=tuple(map(str, data.get("warnings", ()))),
        layers=data.get("layers"),
    )


def from_status(reference: RevisionReference, status: Status, store: StoreLocation) -> Artifact | None:
    """Return the artifact that the status speaks of: what is left when its ControllerRevision is lost.

    The status has the sizes and scores of the newest artifact only; those of an older one are lost.
    """
    if not (reference.recipe_hash and reference.source_digest and reference.artifact_digest):
        return None
    newest = status.candidate.artifact_digest if status.candidate else None
    is_newest = newest in (None, reference.artifact_digest)
    sizes = status.compression if is_newest else None
    return Artifact(
        recipe_hash=reference.recipe_hash,
        source_digest=reference.source_digest,
        artifact_digest=reference.artifact_digest,
        store=store,
        original_bytes=sizes.original_bytes if sizes else None,
        compressed_bytes=sizes.compressed_bytes if sizes else None,
        scores=_status_scores(status) if is_newest else None,
    )


def _status_scores(status: Status) -> Measured | None:
    shown = status.evaluation
    if not (shown and shown.metric and shown.original and shown.compressed):
        return None
    try:
        scores = Measured(
            shown.metric,
            gate.score(shown.original.removesuffix("%")),
            gate.score(shown.compressed.removesuffix("%")),
            outputs={item.name: _shown_scores(item) for item in shown.outputs or ()},
        )
        lost = gate.points(shown.drop.removesuffix("%")) if shown.drop else scores.drop
        return scores if lost == scores.drop else replace(scores, output_drop=lost)
    except ValueError:
        return None


def _shown_scores(output: OutputStatus) -> Measured:
    return Measured(
        output.metric,
        gate.score(output.original.removesuffix("%")),
        gate.score(output.compressed.removesuffix("%")),
    )
