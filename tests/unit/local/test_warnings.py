"""Which events of a pod on this machine reach the control loop."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelpress.local.node.cluster import _holds
from modelpress.local.node.podstatus import timestamp

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def running(seconds: float) -> dict[str, Any]:
    began = timestamp(NOW - timedelta(seconds=seconds))
    return {"status": {"containerStatuses": [{"name": "worker", "state": {"running": {"startedAt": began}}}]}}


@pytest.mark.parametrize(
    ("kind", "reason", "seconds", "tells"),
    [
        ("Warning", "Unhealthy", 1, False),
        ("Warning", "Unhealthy", 60, True),
        ("Warning", "FailedMount", 1, True),
        ("Normal", "Started", 60, False),
    ],
)
def test_a_failed_probe_tells_nothing_while_a_worker_starts(
    kind: str, reason: str, seconds: float, tells: bool
) -> None:
    assert _holds({"type": kind, "reason": reason}, running(seconds), NOW) is tells
