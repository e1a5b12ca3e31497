"""What the status says once the API server has refused an object of the plan."""

from datetime import UTC, datetime
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.planning.explanation import Explanation
from modelpress.planning.status import refused
from modelpress.planning.types import Observed
from modelpress.planning.view import Facts
from tests.unit.planning.fake_cluster import SETTINGS


def _condition(
    kind: str, status: str, reason: str = "Available", time: str = "2025-01-01T00:00:00Z"
) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": time,
        "observedGeneration": 1,
    }


def _facts(status: dict[str, Any], minute: int) -> Facts:
    resource = {"metadata": {"generation": 2}, "status": status}
    return Facts(Observed(resource=resource, now=datetime(2025, 1, 1, 0, minute, tzinfo=UTC)), SETTINGS)


def test_a_refusal_is_stalled_and_leaves_what_serves_as_it_is() -> None:
    before: dict[str, Any] = {
        "observedGeneration": 1,
        "conditions": [
            _condition("Ready", "True"),
            _condition("Available", "True"),
            _condition("Reconciling", "False"),
            _condition("Stalled", "False"),
        ],
        "current": {"name": "digits-1"},
    }
    refusal = Explanation(Reason.INVALID_POD_SETTINGS, "env[0].name: Required value")
    status = refused(_facts(before, 5), None, refusal)
    found = {item["type"]: item for item in status["conditions"]}
    assert found["Stalled"]["status"] == "True"
    assert found["Stalled"]["reason"] == "InvalidPodSettings"
    assert found["Stalled"]["lastTransitionTime"] == "2025-01-01T00:05:00Z"
    assert found["Ready"]["status"] == "False"
    assert found["Reconciling"]["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    assert found["Available"] == before["conditions"][1]
    assert status["current"] == {"name": "digits-1"}
    assert status["observedGeneration"] == 2


def test_the_same_refusal_again_changes_nothing_also_where_the_plan_hoped_for_more() -> None:
    refusal = Explanation(Reason.INVALID_POD_SETTINGS, "no")
    first = refused(_facts({}, 5), None, refusal)
    hopeful = {
        "observedGeneration": 2,
        "conditions": [
            _condition("Ready", "False", "RollingOut", "2025-01-01T00:06:00Z"),
            _condition("Reconciling", "True", "RollingOut", "2025-01-01T00:06:00Z"),
            _condition("Stalled", "False", "RollingOut", "2025-01-01T00:06:00Z"),
        ],
    }
    assert refused(_facts(first, 6), hopeful, refusal) == first
