"""The status of a resource, from what the planner decided."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from modelpress.api import names
from modelpress.api.status import CompressionStatus, EvaluationStatus, Failure, RevisionReference, Status
from modelpress.planning import gate
from modelpress.planning.artifact import Artifact
from modelpress.planning.conditions import Situation, conditions
from modelpress.planning.note import Note
from modelpress.planning.view import Facts


@dataclass(frozen=True)
class Outcome:
    """All that the planner decided about one resource, as far as its status tells of it."""

    replicas: int  # wanted
    current: RevisionReference | None
    candidate: RevisionReference | None
    failed: Failure | None
    serving: bool = False  # the wanted revision is current
    artifact: Artifact | None = None  # the wanted one, where it is known
    passed: bool | None = None  # the gate; None: not judged
    url: str | None = None
    working: Note | None = None
    stalled: Note | None = None
    suspended: bool = False
    trouble: Note | None = None


def assemble(facts: Facts, outcome: Outcome) -> Status:
    """Return the whole status."""
    before = facts.status
    artifact = outcome.artifact
    situation = Situation(
        replicas=outcome.replicas,
        ready=facts.ready_replicas,
        current=outcome.current.name if outcome.current else None,
        serving=outcome.serving,
        made=_in_words(artifact) if artifact else None,
        working=outcome.working,
        stalled=outcome.stalled,
        suspended=outcome.suspended,
        trouble=outcome.trouble,
    )
    return Status(
        observed_generation=facts.generation,
        conditions=conditions(situation, facts.generation, facts.observed.now, before.conditions),
        replicas=len(facts.entry_pods),
        ready_replicas=facts.ready_replicas,
        selector=names.selector_text(names.entry_selector(facts.name)),
        url=outcome.url,
        current=outcome.current,
        candidate=outcome.candidate,
        failed=outcome.failed,
        compression=_compression(artifact) if artifact else before.compression,
        evaluation=_evaluation(artifact, outcome.passed) if artifact else before.evaluation,
    )


def to_body(status: Status) -> dict[str, Any]:
    """Return the status as it is written."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _compression(artifact: Artifact) -> CompressionStatus | None:
    original, compressed = artifact.original_bytes, artifact.compressed_bytes
    if original is None or compressed is None:
        return None
    ratio = f"{Decimal(original) / Decimal(compressed):.2f}" if compressed else None
    return CompressionStatus(original_bytes=original, compressed_bytes=compressed, ratio=ratio)


def _evaluation(artifact: Artifact, passed: bool | None) -> EvaluationStatus | None:
    scores = artifact.scores
    if scores is None:
        return EvaluationStatus(passed=passed) if passed is not None else None
    return EvaluationStatus(
        metric=scores.metric,
        original=gate.percent(scores.original),
        compressed=gate.percent(scores.compressed),
        drop=gate.percent(scores.drop),
        passed=passed,
    )


def _in_words(artifact: Artifact) -> str:
    size = f", {artifact.compressed_bytes} bytes" if artifact.compressed_bytes is not None else ""
    return f"artifact {artifact.artifact_digest}{size}"
