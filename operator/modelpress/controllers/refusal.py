"""What the status says where Kubernetes refuses an object that the plan needs. Pure.

This module must not import kopf or kubernetes.
"""

from collections.abc import Mapping
from typing import Any

from modelpress.api.conditions import ConditionType
from modelpress.controllers.cluster import TemplateRefused
from modelpress.planning.types import Body, Observed

# What a refusal means; Available and Compressed stay as planned: the old revision serves on.
_VERDICT = {ConditionType.READY: "False", ConditionType.RECONCILING: "False", ConditionType.STALLED: "True"}


def refused_status(observed: Observed, planned: Body | None, refusal: TemplateRefused) -> dict[str, Any]:
    """Return the planned status (None: the observed one) with Stalled=True and the refusal's reason.

    The same refusal gives the same status, however often it happens: times move only with a condition.
    """
    resource = observed.resource
    current: Mapping[str, Any] = resource.get("status") or {}
    status = dict(planned if planned is not None else current)
    generation = resource["metadata"].get("generation", 0)
    old = {condition["type"]: condition for condition in current.get("conditions", [])}
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    for kind, value in _VERDICT.items():
        before = old.get(kind.value, {})
        moved = before.get("status") != value
        now = observed.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions[kind.value] = {
            "type": kind.value,
            "status": value,
            "reason": refusal.reason.value,
            "message": refusal.message,
            "lastTransitionTime": now if moved else before["lastTransitionTime"],
            "observedGeneration": generation,
        }
    status["conditions"] = list(conditions.values())
    status["observedGeneration"] = generation
    return status
