"""The five conditions of a resource: the only place that makes them.

Reconciling and Stalled follow kstatus: True when abnormal, never both. A condition's time moves only with its
status.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelpress.api.conditions import ConditionType, Reason
from modelpress.api.status import Condition, Failure, RevisionReference
from modelpress.planning.artifacts.artifact import Artifact
from modelpress.planning.children.objects import format_time
from modelpress.planning.explanation import Explanation
from modelpress.planning.view import Facts

# What the API server answers that passes while the resource stays as it is: Reconciling, not Stalled.
PASSING = (Reason.API_ERROR, Reason.QUOTA_EXCEEDED)
_Verdict = tuple[bool, Explanation]


@dataclass(frozen=True)
class Result:
    """All that the planner decided about one resource, as far as its status tells of it."""

    replicas: int  # desired
    current: RevisionReference | None
    candidate: RevisionReference | None
    failed: Failure | None
    serving: bool = False  # the desired revision is current, or in place at zero replicas
    artifact: Artifact | None = None  # the desired one, where it is known
    passed: bool | None = None  # the gate; None: not judged
    url: str | None = None
    working: Explanation | None = None
    stalled: Explanation | None = None
    suspended: bool = False


def conditions(facts: Facts, result: Result) -> list[Condition]:
    """Return all five conditions."""
    stalled, working = result.stalled, None if result.stalled else result.working
    nothing = Explanation(Reason.SETTLED, "nothing prevents progress")
    return _made(
        facts,
        {
            ConditionType.READY: _ready(facts, result),
            ConditionType.AVAILABLE: _available(facts, result),
            ConditionType.COMPRESSED: _compressed(result),
            ConditionType.RECONCILING: (working is not None, working or _idle(result)),
            ConditionType.STALLED: (stalled is not None, stalled or nothing),
        },
    )


def refused_conditions(facts: Facts, why: Explanation) -> list[Condition]:
    """Return what a refusal of the API server changes.

    Available and Compressed stay as planned: the old revision serves on.
    """
    return _made(
        facts,
        {
            ConditionType.READY: (False, why),
            ConditionType.RECONCILING: (False, why),
            ConditionType.STALLED: (True, why),
        },
    )


def hindered_conditions(facts: Facts, why: Explanation) -> list[Condition]:
    """Return what an error of the API server changes: it may pass, and what serves may serve on."""
    nothing = Explanation(Reason.SETTLED, "nothing prevents progress")
    said = {condition.type for condition in facts.status.conditions}
    unsaid = {} if ConditionType.READY in said else {ConditionType.READY: (False, why)}
    return _made(
        facts,
        {**unsaid, ConditionType.RECONCILING: (True, why), ConditionType.STALLED: (False, nothing)},
    )


def _made(facts: Facts, verdicts: Mapping[ConditionType, _Verdict]) -> list[Condition]:
    before = {condition.type: condition for condition in facts.status.conditions}
    now, made = format_time(facts.observed.now), []
    for kind, (is_true, why) in verdicts.items():
        old, text = before.get(kind), "True" if is_true else "False"
        same = old is not None and old.status == text
        made.append(
            Condition(
                type=kind.value,
                status=text,
                reason=why.reason.value,
                message=why.message,
                last_transition_time=old.last_transition_time if old and same else now,
                observed_generation=facts.generation,
            )
        )
    return made


def _ready(facts: Facts, result: Result) -> _Verdict:
    name = result.current.name if result.current else None
    if result.serving and result.replicas == 0:
        untried = result.candidate.name if result.candidate else None
        text = f"revision {untried or name} is scaled to zero"
        more = "; it becomes current when a pod of it has been ready" if untried else ""
        return True, Explanation(Reason.SCALED_TO_ZERO, text + more)
    if result.serving and facts.ready_replicas >= 1:
        return True, Explanation(Reason.AVAILABLE, f"revision {name} answers")
    why = result.stalled or result.working or (_suspended() if _is_held_back(result) else facts.pod_problem())
    return False, why or _pods_ready(facts, result)


def _available(facts: Facts, result: Result) -> _Verdict:
    if result.replicas == 0:
        return True, Explanation(Reason.SCALED_TO_ZERO, "no pods are desired")
    count = _pods_ready(facts, result)
    if facts.ready_replicas >= result.replicas:
        return True, Explanation(Reason.AVAILABLE, count.message)
    return False, facts.pod_problem() or count


def _compressed(result: Result) -> _Verdict:
    artifact = result.artifact
    if artifact is not None:
        size = f", {artifact.compressed_bytes} bytes" if artifact.compressed_bytes is not None else ""
        text = "; ".join((f"artifact {artifact.artifact_digest}{size}", *artifact.warnings))
        return True, Explanation(Reason.COMPRESSION_SUCCEEDED, text)
    none_yet = Explanation(Reason.COMPRESSING, "there is no artifact yet")
    return False, result.stalled or result.working or (_suspended() if result.suspended else none_yet)


def _idle(result: Result) -> Explanation:
    if result.stalled is not None:
        return result.stalled
    return _suspended() if _is_held_back(result) else Explanation(Reason.SETTLED, "nothing is being changed")


def _is_held_back(result: Result) -> bool:
    return result.suspended and not result.serving


def _suspended() -> Explanation:
    return Explanation(Reason.SUSPENDED, "suspend is true: no new Job and no new revision")


def _pods_ready(facts: Facts, result: Result) -> Explanation:
    text = f"{facts.ready_replicas} of {result.replicas} pods are ready"
    return Explanation(Reason.MINIMUM_REPLICAS_UNAVAILABLE, text)
