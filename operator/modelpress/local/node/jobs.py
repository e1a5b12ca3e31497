"""What a Job does next and says of itself: one pod at a time, as the real controller does. Pure.

Rules: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from modelpress.local.node.podstatus import timestamp
from modelpress.planning.backoff import pause
from modelpress.planning.children import objects
from modelpress.planning.types import Body

FIRST_BACKOFF = 10.0  # seconds between the end of a failed pod and the next one; doubles
MAX_BACKOFF = 360.0


@dataclass(frozen=True)
class Step:
    """What to do now, and the Job's status."""

    start: bool
    stop: bool  # end the running pod: the Job has failed
    status: dict[str, Any]


class _End(NamedTuple):
    kind: str  # Complete or Failed
    reason: str = ""
    message: str = ""


def step(job: Body, pods: Sequence[Body], now: datetime) -> Step:
    """Return the next step of a Job; `pods` are all of its pods, oldest first."""
    before = dict(job.get("status") or {})
    if ended(job):
        return Step(False, False, before)
    begun = before.get("startTime") or timestamp(now)
    succeeded = [pod for pod in pods if _phase(pod) == "Succeeded"]
    failed = [pod for pod in pods if _phase(pod) == "Failed"]
    active = len(pods) - len(succeeded) - len(failed)
    end = _end(job, succeeded, failed, objects.age(begun, now))
    status = {
        "startTime": begun,
        "active": 0 if end else active,
        "succeeded": len(succeeded),
        "failed": len(failed),
    }
    if end is None:
        return Step(not active and _may_retry(job, failed, now), False, status)
    status["conditions"] = _conditions(end, now)
    if end.kind == "Complete":
        status["completionTime"] = timestamp(now)
    return Step(False, active > 0, status)


def ended(job: Body) -> bool:
    """Return whether a Job is Complete or Failed."""
    return objects.is_true(job, "Complete") or objects.is_true(job, "Failed")


def _phase(pod: Body) -> str:
    return str(objects.dig(pod, "status", "phase"))


def _end(job: Body, succeeded: Sequence[Body], failed: Sequence[Body], age: float) -> _End | None:
    if succeeded:
        return _End("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    for pod in failed:
        verdict = _final(job, pod)
        if verdict:
            return _End("Failed", "PodFailurePolicy", verdict)
    if len(_counted(job, failed)) > int(job["spec"].get("backoffLimit", 6)):
        return _End("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is not None and age >= int(deadline):
        return _End("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def _may_retry(job: Body, failed: Sequence[Body], now: datetime) -> bool:
    if not failed:
        return True
    ends = [
        entry["state"]["terminated"]["finishedAt"]
        for entry in objects.items(failed[-1], "status", "containerStatuses")
        if "terminated" in entry["state"]
    ]
    counted = len(_counted(job, failed))
    waits = pause(FIRST_BACKOFF, MAX_BACKOFF, counted - 1) if counted else 0.0
    return all(objects.age(end, now) >= waits for end in ends)


def _counted(job: Body, failed: Sequence[Body]) -> list[Body]:
    return [pod for pod in failed if (_rule(job, pod) or ("Count", 0, ""))[0] != "Ignore"]


def _final(job: Body, pod: Body) -> str | None:
    found = _rule(job, pod)
    if found is None or found[0] != "FailJob":
        return None
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    return f"{found[2]} for pod {name} matching FailJob rule at index {found[1]}"


def _rule(job: Body, pod: Body) -> tuple[str, int, str] | None:
    """Return action, index and what matched of the first rule of podFailurePolicy that a failed pod meets."""
    for index, rule in enumerate(objects.items(job, "spec", "podFailurePolicy", "rules")):
        matched = _matching_exit(rule, pod) or _matching_condition(rule, pod)
        if matched:
            return str(rule["action"]), index, matched
    return None


def _matching_exit(rule: Body, pod: Body) -> str | None:
    codes = rule.get("onExitCodes")
    if not codes:
        return None
    for kind in ("initContainerStatuses", "containerStatuses"):
        for entry in objects.items(pod, "status", kind):
            code = objects.number(entry, "state", "terminated", "exitCode")
            listed = code in codes["values"]
            named = codes.get("containerName") in (None, entry["name"])
            if code and named and listed == (codes["operator"] == "In"):
                return f"Container {entry['name']} failed with exit code {code}"
    return None


def _matching_condition(rule: Body, pod: Body) -> str | None:
    for expected in rule.get("onPodConditions", ()):
        found = objects.condition(pod, expected["type"])
        if found and found["status"] == expected.get("status", "True"):
            return f"Pod has condition {expected['type']}"
    return None


def _conditions(end: _End, now: datetime) -> list[dict[str, str]]:
    first = "SuccessCriteriaMet" if end.kind == "Complete" else "FailureTarget"
    return [
        {
            "type": kind,
            "status": "True",
            "reason": end.reason,
            "message": end.message,
            "lastProbeTime": timestamp(now),
            "lastTransitionTime": timestamp(now),
        }
        for kind in (first, end.kind)
    ]
