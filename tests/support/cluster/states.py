"""ModelDeployments in every state that an operator may leave them in, each in a namespace of its own.

The pods are moved by hand (by_hand.py): no node takes them.
"""

import json
from collections.abc import Callable
from functools import partial

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import SPEC, finish_job, make_ready, set_pods
from tests.support.cluster.helpers import SLOT, Deployed, merge

STARTED = "2026-01-01T00:00:00Z"
SECOND: Json = {"worker": {"env": [{"name": "GREETING", "value": "hello"}]}}
ANOTHER_RECIPE: Json = {"compression": {"quantization": {"scheme": "Float16"}}}
SCORES: Json = {"metric": "Accuracy", "original": 99.0, "compressed": 95.0, "rows": 100}
# a value in every part of the spec: what hashes and pods are made of
FULL: Json = {
    "data": {"evaluation": {"uri": "https://example.com/data.npz"}},
    "compression": {"quantization": {"scheme": "Int8Dynamic"}, "pruning": {"sparsity": "50%"}},
    "evaluation": {"minScore": "90%", "maxDrop": "5%", "metric": "Accuracy"},
    "parallelism": {"data": 2},
    "devices": {"resourceName": SLOT},
    "serving": {"maxBatchSize": 8, "maxRequestBytes": "1Mi", "drainSeconds": 3},
    "job": {"env": [{"name": "A", "value": "$B"}], "resources": {"requests": {"cpu": "1000m"}}},
    "worker": {
        "labels": {"team": "a"},
        "annotations": {"example.com/note": "a"},
        "resources": {"requests": {"memory": "0.5Gi"}, "limits": {"memory": "1Gi"}},
        "tolerations": [{"key": "example.com/gpu", "operator": "Exists"}],
    },
    "service": {"type": "NodePort", "annotations": {"example.com/note": "b"}},
    "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    "replicas": 2,
}


def until_current(digits: Deployed) -> None:
    """Report workers as ready until the newest generation is done."""

    def done() -> bool:
        make_ready(digits)
        return digits.kstatus() == "Current"

    digits.wait("kstatus Current", done)


def new_revision(digits: Deployed, change: Json) -> None:
    """Edit; return when pods of another revision are there."""
    before = {pod["metadata"]["name"] for pod in digits.children("pods")}
    digits.patch(change)
    digits.wait("pods of it", lambda: {pod["metadata"]["name"] for pod in digits.children("pods")} - before)


def serving(digits: Deployed, change: Json | None = None) -> None:
    """A revision serves."""
    digits.apply(merge(SPEC, change or {}))
    finish_job(digits, scores=SCORES if change and "evaluation" in change else None)
    until_current(digits)


def serving_the_second(digits: Deployed) -> None:
    """A second revision serves, the first is kept."""
    serving(digits)
    new_revision(digits, SECOND)
    until_current(digits)


def compressing(digits: Deployed) -> None:
    """Its Job runs."""
    digits.apply(SPEC)
    digits.wait("a Job", lambda: digits.children("jobs"))
    _run_job(digits)


def compressing_anew(digits: Deployed) -> None:
    """A revision serves while the Job of another recipe runs."""
    serving(digits)
    digits.patch(ANOTHER_RECIPE)
    digits.wait("a second Job", lambda: len(digits.children("jobs")) == 2)
    _run_job(digits)


def rolling_out(digits: Deployed) -> None:
    """The pod of a second revision is not ready yet."""
    serving(digits)
    new_revision(digits, SECOND)


def scaled_to_zero(digits: Deployed) -> None:
    """A revision that has served has no pods."""
    serving(digits)
    digits.patch({"replicas": 0})
    digits.wait_current()


def never_scaled_up(digits: Deployed) -> None:
    """A revision is in place of which no pod has ever been."""
    digits.apply({**SPEC, "replicas": 0})
    finish_job(digits)
    digits.wait_current()


def suspended(digits: Deployed) -> None:
    """A revision serves, and an edit waits."""
    serving(digits)
    digits.patch({"suspend": True, **ANOTHER_RECIPE})
    digits.wait("suspended", lambda: digits.status["observedGeneration"] == 2)


def gate_failed(digits: Deployed) -> None:
    """The first artifact did not pass."""
    digits.apply(merge(SPEC, {**FULL, "evaluation": {"minScore": "99%"}}))
    finish_job(digits, scores=SCORES)
    digits.wait_stalled("EvaluationFailed")


def job_failed(digits: Deployed) -> None:
    """The first Job failed for good, and repairs of its settings have been noted."""
    digits.apply(SPEC)
    digits.wait("a Job's pod", lambda: digits.children("pods"))
    failure = json.dumps({"reason": "UnsupportedModel", "message": "no such layer"})
    set_pods(digits, names.JOB, {"phase": "Failed", "containerStatuses": [_ended("job", 65, failure)]})
    digits.wait_stalled("UnsupportedModel")


def rollout_failed(digits: Deployed) -> None:
    """The pods of a second revision crashed; the first serves again."""
    serving(digits)
    before = {pod["metadata"]["name"] for pod in digits.children("pods")}
    new_revision(digits, SECOND)
    crashing = {
        **_ended("worker", 1, ""),
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": _ended("worker", 1, "")["state"],
    }
    for pod in digits.children("pods"):
        if pod["metadata"]["name"] not in before:
            status = {"status": {"phase": "Running", "containerStatuses": [crashing]}}
            digits.api.patch("pods", digits.namespace, pod["metadata"]["name"], status, "status")
    digits.wait_stalled("RolloutFailed")


STATES: dict[str, Callable[[Deployed], None]] = {
    "serving": serving,
    "serving with every field": partial(serving, change=FULL),
    "serving the second revision": serving_the_second,
    "compressing": compressing,
    "compressing anew": compressing_anew,
    "rolling out": rolling_out,
    "scaled to zero": scaled_to_zero,
    "never scaled up": never_scaled_up,
    "suspended": suspended,
    "gate failed": gate_failed,
    "Job failed": job_failed,
    "rollout failed": rollout_failed,
}


def _run_job(digits: Deployed) -> None:
    running = {"running": {"startedAt": STARTED}}
    status = {**_container("job"), "state": running, "ready": True}
    for pod in digits.api.list("pods", digits.namespace, f"{names.ROLE_LABEL}={names.JOB}"):
        if pod["status"]["phase"] == "Pending":
            body = {"status": {"phase": "Running", "containerStatuses": [status]}}
            digits.api.patch("pods", digits.namespace, pod["metadata"]["name"], body, "status")


def _container(name: str) -> Json:
    return {"name": name, "image": "", "imageID": "", "ready": False, "restartCount": 0}


def _ended(container: str, code: int, message: str) -> Json:
    ended = {"exitCode": code, "reason": "Error", "message": message, "finishedAt": STARTED}
    return {**_container(container), "state": {"terminated": ended}}
