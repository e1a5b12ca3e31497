"""The Job controller of local mode: pure steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelpress.local.node.jobs import step

NOW = datetime(2025, 1, 1, 12, 0, 0, tzinfo=UTC)
POLICY = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "job", "operator": "In", "values": [65, 137]}},
    ]
}


def job(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "j", "namespace": "n"},
        "spec": {"backoffLimit": 2, "podFailurePolicy": POLICY} | spec,
    }


def pod(phase: str, code: int = 0, seconds_ago: int = 3600, **conditions: str) -> dict[str, Any]:
    finished = (NOW - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"terminated": {"exitCode": code, "finishedAt": finished}}
    state = ended if phase in ("Succeeded", "Failed") else {"running": {}}
    return {
        "metadata": {"name": "p", "namespace": "n"},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "job", "state": state}],
            "conditions": [{"type": kind, "status": status} for kind, status in conditions.items()],
        },
    }


def final(status: dict[str, Any]) -> tuple[str, str]:
    last = status["conditions"][-1]
    return last["type"], last["reason"]


def test_a_new_job_starts_one_pod_and_waits_for_it() -> None:
    first = step(job(), [], NOW)
    assert first.start
    assert first.status["startTime"] == "2025-01-01T12:00:00Z"
    second = step(job() | {"status": first.status}, [pod("Running")], NOW)
    assert not second.start
    assert second.status["active"] == 1


def test_success_completes_it() -> None:
    done = step(job(), [pod("Failed", 69), pod("Succeeded")], NOW)
    assert final(done.status) == ("Complete", "CompletionsReached")
    assert (done.status["succeeded"], done.status["failed"], done.status["active"]) == (1, 1, 0)
    again = step(job() | {"status": done.status}, [], NOW)
    assert not again.start
    assert again.status == done.status


def test_a_final_exit_code_fails_it_at_once() -> None:
    done = step(job(), [pod("Failed", 65, 0)], NOW)
    assert final(done.status) == ("Failed", "PodFailurePolicy")
    message = "Container job failed with exit code 65 for pod n/p matching FailJob rule at index 1"
    assert done.status["conditions"][-1]["message"] == message


def test_another_exit_code_is_retried_after_a_growing_pause() -> None:
    failed = [pod("Failed", 69, 15)]
    assert step(job(), failed, NOW).start
    assert not step(job(), [pod("Failed", 69, 9)], NOW).start
    assert not step(job(), [*failed, pod("Failed", 69, 15)], NOW).start
    assert step(job(), [*failed, pod("Failed", 69, 20)], NOW).start


def test_the_backoff_limit_ends_it() -> None:
    done = step(job(backoffLimit=1), [pod("Failed", 69), pod("Failed", 69)], NOW)
    assert final(done.status) == ("Failed", "BackoffLimitExceeded")


def test_disruptions_do_not_count() -> None:
    disrupted = pod("Failed", 143, 0, DisruptionTarget="True")
    again = step(job(backoffLimit=0), [disrupted], NOW)
    assert again.start
    assert "conditions" not in again.status


def test_the_deadline_stops_the_running_pod() -> None:
    late = job(activeDeadlineSeconds=60) | {"status": {"startTime": "2025-01-01T11:58:00Z"}}
    done = step(late, [pod("Running")], NOW)
    assert done.stop
    assert final(done.status) == ("Failed", "DeadlineExceeded")


@pytest.mark.parametrize(("operator", "fails"), [("In", False), ("NotIn", True)])
def test_exit_code_operators(operator: str, fails: bool) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": operator, "values": [69]}}
    done = step(job(podFailurePolicy={"rules": [rule]}), [pod("Failed", 1)], NOW)
    assert ("conditions" in done.status) == fails
