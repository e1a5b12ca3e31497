"""The status of a resource, from what the planner decided."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from modelpress.api import names
from modelpress.api.status import CompressionStatus, Condition, EvaluationStatus, OutputStatus, Status
from modelpress.planning.artifacts import gate
from modelpress.planning.artifacts.artifact import Artifact
from modelpress.planning.conditions import Result, conditions, hindered_conditions, refused_conditions
from modelpress.planning.explanation import Explanation
from modelpress.planning.view import Facts


def assemble(facts: Facts, result: Result) -> Status:
    """Return the whole status."""
    before, artifact = facts.status, result.artifact
    return Status(
        observed_generation=facts.generation,
        conditions=conditions(facts, result),
        replicas=len(facts.worker_pods),
        ready_replicas=facts.ready_replicas,
        selector=names.selector_text(names.worker_selector(facts.name)),
        url=result.url,
        current=result.current,
        candidate=result.candidate,
        failed=result.failed,
        compression=_compression(artifact) if artifact else before.compression,
        evaluation=_evaluation(artifact, result.passed) if artifact else before.evaluation,
    )


def to_body(status: Status) -> dict[str, Any]:
    """Return the status as it is written."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def refused(facts: Facts, planned: Mapping[str, Any] | None, why: Explanation) -> dict[str, Any]:
    """Return the planned status (None: the observed one) after the API server refused an object.

    The same refusal gives the same status, however often it happens.
    """
    return _overlaid(facts, planned, refused_conditions(facts, why))


def hindered(facts: Facts, planned: Mapping[str, Any] | None, why: Explanation) -> dict[str, Any]:
    """Return the planned status (None: the observed one) while an error that may pass prevents the plan."""
    return _overlaid(facts, planned, hindered_conditions(facts, why))


def _overlaid(facts: Facts, planned: Mapping[str, Any] | None, conditions: list[Condition]) -> dict[str, Any]:
    status = planned if planned is not None else to_body(facts.status)
    made = [condition.model_dump(mode="json", by_alias=True) for condition in conditions]
    merged = {condition["type"]: condition for condition in (*status.get("conditions", ()), *made)}
    return {**status, "conditions": list(merged.values()), "observedGeneration": facts.generation}


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
        outputs=[
            OutputStatus(
                name=name,
                metric=output.metric,
                original=gate.percent(output.original),
                compressed=gate.percent(output.compressed),
            )
            for name, output in scores.outputs.items()
        ]
        or None,
        passed=passed,
    )
