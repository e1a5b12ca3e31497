"""Walks of a ModelDeployment through its phases on a real API server, named as in docs/gitops.md.

A walk begins in an empty namespace and yields the name of each phase when it is reached; there it stays until
the walk goes on. The tests move the pods by hand, so no node may take them.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import SPEC, finish_job, make_ready, set_pods
from tests.support.cluster.helpers import Deployed, Operator, merge, now

# one more resource of a namespace has to wait for its turn
ARGUMENTS = ["--max-concurrent-jobs-per-namespace=1"]
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/modelpress-operator"
MERGE = "application/merge-patch+json"
FINALIZER: Json = {"metadata": {"finalizers": ["example.com/wait"]}}
GREETING: Json = {"worker": {"env": [{"name": "GREETING", "value": "hello"}]}}
TOO_LARGE: Json = {"evaluation": {"maxSize": "50"}}  # the Job tells of 100 bytes


@dataclass(frozen=True)
class Stage:
    """A resource of no node, and the operator that sees it."""

    digits: Deployed
    operator: Operator

    def until(self, kind: str, status: str, *reasons: str) -> None:
        """Wait until a condition of the newest generation has this status, and one of the reasons."""
        self.digits.wait(f"{kind} {status} {reasons}", partial(self._reached, kind, status, reasons))

    def _reached(self, kind: str, status: str, reasons: tuple[str, ...]) -> bool:
        body = self.digits.read()
        conditions = {each["type"]: each for each in body["status"].get("conditions", ())}
        found = conditions.get(kind, {})
        if found.get("observedGeneration") != body["metadata"]["generation"] or found["status"] != status:
            return False
        return not reasons or found["reason"] in reasons

    def serve(self, change: Json | None = None) -> None:
        """Walk from nothing to a pod that answers."""
        self.digits.apply(merge(SPEC, change or {}))
        self.walk_on()

    def walk_on(self) -> None:
        """Walk from what is applied to a pod that answers."""
        finish_job(self.digits)
        self.answer()

    def answer(self) -> None:
        """Report pods as ready until the spec is reached."""

        def is_current() -> bool:
            make_ready(self.digits)
            return self.digits.kstatus() == "Current"

        self.digits.wait("serving", is_current)

    def roll(self, edit: Json) -> str:
        """Edit, and wait for pods of a new revision; return its name."""
        before = self.digits.status["current"]["name"]
        self.digits.patch(edit)
        self.until("Reconciling", "True", "RollingOut", "PodsUnschedulable")
        return str(self.digits.wait("a new revision", lambda: self._running(other_than=before)))

    def crash(self, revision: str) -> None:
        """Report that the worker of a revision ends again and again."""
        crashed = _ended("worker", restarts=3, exitCode=1, reason="Error")
        for pod in self.digits.api.list("pods", self.digits.namespace, f"{names.REVISION_LABEL}={revision}"):
            self.digits.api.patch(
                "pods", self.digits.namespace, pod["metadata"]["name"], {"status": crashed}, "status"
            )

    def _running(self, other_than: str) -> str | None:
        selector = f"{names.ROLE_LABEL}={names.WORKER}"
        pods = self.digits.api.list("pods", self.digits.namespace, selector)
        found = {pod["metadata"]["labels"][names.REVISION_LABEL] for pod in pods} - {other_than}
        return next(iter(found), None)


def _ended(name: str, restarts: int, **state: object) -> Json:
    """Return the status of a pod whose container has ended so."""
    container = {"name": name, "image": "", "imageID": "", "ready": False, "restartCount": restarts}
    return {"containerStatuses": [{**container, "state": {"terminated": state}}]}


def first_time(stage: Stage) -> Iterator[str]:
    """From nothing to serving, with a Job that its queue holds for a while; then to the end."""
    digits = stage.digits
    stage.operator.stop()
    try:
        digits.apply(SPEC)
        yield "created, not seen by the operator yet"
    finally:
        stage.operator.start()
    stage.until("Reconciling", "True", "Compressing", "PodsUnschedulable")
    yield "compressing"
    (job,) = digits.children("jobs")
    hold = partial(digits.api.patch, "jobs", digits.namespace, job["metadata"]["name"])
    hold({"spec": {"suspend": True}})
    stage.until("Reconciling", "True", "JobSuspended")
    yield "Job held by its queue"
    hold({"spec": {"suspend": False}})
    finish_job(digits)
    stage.until("Compressed", "True")
    yield "first rollout"
    stage.answer()
    yield "serving"
    edit = partial(digits.api.patch, "modeldeployments", digits.namespace, digits.name)
    edit(FINALIZER)
    digits.api.delete("modeldeployments", digits.namespace, digits.name)
    yield "deleting"
    edit({"metadata": {"finalizers": None}})


def scaling(stage: Stage) -> Iterator[str]:
    """Up, down to nothing, and up again."""
    stage.serve()
    stage.operator.stop()
    try:
        stage.digits.patch({"replicas": 3})
        yield "edited, not seen by the operator yet"
    finally:
        stage.operator.start()
    stage.until("Available", "False")
    yield "scaling, some pods answer"
    stage.digits.patch({"replicas": 0})
    stage.until("Ready", "True", "ScaledToZero")
    stage.digits.wait("no pods", lambda: stage.digits.status["readyReplicas"] == 0)
    yield "scaled to zero"
    stage.digits.patch({"replicas": 1})
    stage.until("Ready", "False")
    yield "scaling from zero, no pod answers yet"


def suspending(stage: Stage) -> Iterator[str]:
    """With nothing to hold back, then with an edit, which rolls out later."""
    stage.serve()
    generation = stage.digits.patch({"suspend": True})
    stage.digits.wait("seen", lambda: stage.digits.status["observedGeneration"] == generation)
    yield "suspended, nothing held back"
    stage.digits.patch(GREETING)
    stage.until("Ready", "False", "Suspended")
    yield "suspended, an edit held back"
    stage.roll({"suspend": False})
    yield "rolling out an update"


def failing(stage: Stage) -> Iterator[str]:
    """What fails while an older revision serves, and pods of it that are lost."""
    digits = stage.digits
    stage.serve({"evaluation": {"maxSize": "1Ki"}})
    stage.crash(stage.roll(GREETING))
    stage.until("Stalled", "True", "RolloutFailed")
    yield "rolled back, an older revision serves"
    digits.patch({**TOO_LARGE, "worker": {**SPEC["worker"], "env": None}})
    stage.until("Stalled", "True", "EvaluationFailed")
    yield "gate failed, an older revision serves"
    digits.patch({"evaluation": {"maxSize": "1Ki"}, "worker": {"affinity": {"nodeAffinty": {"typo": True}}}})
    stage.until("Stalled", "True", "InvalidPodSettings")
    yield "spec refused, an older revision serves"
    digits.patch({"worker": {"affinity": None}})
    digits.wait_current()
    lost = {"type": "Ready", "status": "False", "lastTransitionTime": now()[:19] + "Z"}
    set_pods(digits, names.WORKER, {"conditions": [lost]})
    stage.until("Ready", "False")
    yield "no pod of the current revision answers"


def interfering(stage: Stage) -> Iterator[str]:
    """Somebody fights for a child; a right is missing."""
    digits = stage.digits
    stage.serve()
    edit = {"spec": {"minReadySeconds": 7}}

    def is_told() -> bool:
        digits.api.patch("deployments", digits.namespace, digits.name, edit)
        return bool(digits.condition("Reconciling")["reason"] == "DriftRejected")

    digits.wait("DriftRejected", is_told)
    yield "somebody changes a child again and again"
    role = digits.api.request("GET", ROLE)
    fewer = [rule for rule in role["rules"] if rule["resources"] != ["services"]]
    reading = {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]}
    digits.api.request("PATCH", ROLE, {"rules": [*fewer, reading]}, content_type=MERGE)
    try:
        digits.api.delete("services", digits.namespace, digits.name)
        stage.until("Reconciling", "True", "ApiError")
        yield "an error of the API server, tried again"
    finally:
        digits.api.request("PATCH", ROLE, {"rules": role["rules"]}, content_type=MERGE)


def failed_gate(stage: Stage) -> Iterator[str]:
    """A first artifact that the gate refuses."""
    stage.digits.apply(merge(SPEC, TOO_LARGE))
    finish_job(stage.digits)
    stage.until("Stalled", "True", "EvaluationFailed")
    yield "gate failed, nothing serves"


def failed_job(stage: Stage) -> Iterator[str]:
    """A model that cannot be read."""
    _end_job(stage, 65, "InvalidModel")
    stage.until("Stalled", "True", "InvalidModel")
    yield "Job failed"


def away(stage: Stage) -> Iterator[str]:
    """A source that does not answer."""
    _end_job(stage, 69, "SourceUnavailable")
    stage.until("Reconciling", "True", "SourceUnavailable")
    yield "source away, tried again"


def _end_job(stage: Stage, exit_code: int, reason: str) -> None:
    stage.digits.apply(merge(SPEC, {"job": {"backoffLimit": 0}}))
    message = json.dumps({"reason": reason, "message": "the tests say so"})
    ended = _ended("job", restarts=0, exitCode=exit_code, reason="Error", message=message)
    set_pods(stage.digits, names.JOB, {"phase": "Failed", **ended})


def waiting(stage: Stage) -> Iterator[str]:
    """For the Job of another resource, for somebody's object to go, and for what an earlier resource left."""
    digits = stage.digits
    other = Deployed(digits.cluster, digits.namespace, "other")
    other.apply(SPEC)
    other.wait("its Job", other.job_names)
    digits.apply(SPEC)
    stage.until("Reconciling", "True", "WaitingForJobSlot")
    yield "waiting for a Job slot"
    digits.api.delete("modeldeployments", digits.namespace, "other")
    finish_job(digits)
    stage.answer()
    digits.api.patch("services", digits.namespace, digits.name, FINALIZER)
    digits.api.delete("modeldeployments", digits.namespace, digits.name)
    digits.wait("gone", lambda: digits.api.find("modeldeployments", digits.namespace, digits.name) is None)
    digits.apply(SPEC)
    stage.until("Reconciling", "True", "WaitingForDeletion")
    yield "waiting for an earlier resource of the name to go"
    digits.api.delete("modeldeployments", digits.namespace, digits.name)
    digits.api.patch("services", digits.namespace, digits.name, {"metadata": {"finalizers": None}})


def conflicting(stage: Stage) -> Iterator[str]:
    """A name that somebody has taken before."""
    service = {"metadata": {"name": stage.digits.name}, "spec": {"ports": [{"port": 80}]}}
    stage.digits.api.create("services", stage.digits.namespace, service)
    stage.digits.apply(SPEC)
    finish_job(stage.digits)  # an object without our label is seen when the name is needed
    stage.until("Stalled", "True", "NameConflict")
    yield "name taken by somebody else"


WALKS: tuple[Callable[[Stage], Iterator[str]], ...] = (
    first_time,
    scaling,
    suspending,
    failing,
    interfering,
    failed_gate,
    failed_job,
    away,
    waiting,
    conflicting,
)
