"""The life of a ModelDeployment on the node that runs nothing: created, updated, scaled, deleted.

Each step waits for what the operator tells before it goes on, so that the same is written, seen and told in
every life, and two of them can be compared.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from modelpress.api import names
from tests.support.cluster.api import ApiError, Json
from tests.support.cluster.by_hand import recipe_of, succeeded
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.end_state import differences
from tests.support.cluster.helpers import Deployed, is_ready, make_namespace, now
from tests.support.cluster.still_node import SETTINGS

SPEC: Json = {
    "model": {"uri": "https://example.com/digits.keras"},
    "devices": {"type": "CPU"},
    "job": SETTINGS,
    "worker": SETTINGS,
}
UPDATE: Json = {"worker": {"env": [{"name": "GREETING", "value": "hello"}]}}
CHILDREN = (
    "controllerrevisions",
    "deployments",
    "jobs",
    "networkpolicies",
    "poddisruptionbudgets",
    "replicasets",
    "services",
)
_PATIENCE = 300  # seconds, on a busy machine
_OF_THE_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace")


class Life:
    """One ModelDeployment in a namespace of its own."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self.digits = Deployed(control_plane, namespace, "digits")
        self.api = control_plane.admin
        self.namespace = namespace

    # steps

    def create(self) -> None:
        """From nothing to Ready."""
        self.apply()
        self._compressed()
        self._rolled_out(1)

    def apply(self) -> None:
        """Make the ModelDeployment where there is none."""
        if not self.api.find("modeldeployments", self.namespace, "digits"):
            body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "digits"}}
            self.api.create("modeldeployments", self.namespace, {**body, "spec": SPEC})

    def update(self) -> None:
        """Change a setting of the workers: a rollout."""
        self.digits.patch(UPDATE)
        self._rolled_out(1)

    def replace_model(self) -> None:
        """Name another model: a Job and a rollout."""
        self.digits.patch({"model": {"uri": "https://example.com/letters.keras"}})
        self._compressed()
        self._rolled_out(1)

    def scale(self) -> None:
        """From one pod to three: no rollout, and a PodDisruptionBudget."""
        self.digits.patch({"replicas": 3})
        self._wait("scaled", lambda: self._deployment()["spec"]["replicas"] == 3)
        self._wait("all pods ready", lambda: self._serves(3))

    def delete(self) -> None:
        """Delete it, and wait until nothing of it is left."""
        self.api.delete("modeldeployments", self.namespace, "digits", propagationPolicy="Background")
        left = (*CHILDREN, "pods")
        self._wait("nothing left", lambda: not any(self.digits.children(plural) for plural in left))

    def end(self) -> None:
        """Delete its namespace."""
        self.api.delete("namespaces", None, self.namespace)

    # readings

    def state(self) -> Json:
        """Return all that there is of it, as far as it is the same in every life."""
        objects = {
            plural: {body["metadata"]["name"]: _essence(body) for body in self.digits.children(plural)}
            for plural in CHILDREN
        }
        body = self.api.find("modeldeployments", self.namespace, "digits") or {}
        whole = {**objects, "status": _without_times(body.get("status"))}
        text = re.sub(rf"\b{self.namespace}\b", "NAMESPACE", json.dumps(whole))
        for template_hash, name in self._template_names().items():
            text = text.replace(template_hash, name)
        state: Json = json.loads(text)
        return state

    def _template_names(self) -> dict[str, str]:
        """Return what stands for each hash of a pod template: it holds the namespace, by the repository."""
        sets = sorted(
            self.digits.children("replicasets"), key=lambda body: body["metadata"]["creationTimestamp"]
        )
        seen: Counter[str] = Counter()
        found = {}
        for body in sets:
            labels = body["metadata"]["labels"]
            revision = labels[names.REVISION_LABEL]
            seen[revision] += 1
            found[labels["pod-template-hash"]] = f"template-{seen[revision]}-of-{revision}"
        return found

    def told(self) -> set[tuple[str, str, str]]:
        """Return type, reason and message of all events about it."""
        events = self.api.list("events", self.namespace)
        own = (event for event in events if event["involvedObject"]["kind"] == names.KIND)
        return {(event["type"], event["reason"], event["message"]) for event in own}

    # the kubelet

    def _compressed(self) -> None:
        """Let the Job end once its beginning is told, and wait until its end is."""
        self._wait("a Job told", lambda: self._says("Reconciling", "Compressing"))
        self._wait("its pod", self._unfinished)
        for pod in self._unfinished():
            self._report(pod, _ended_well(pod))
        self._wait("compressed", lambda: self._says("Compressed", "CompressionSucceeded"))

    def _rolled_out(self, replicas: int) -> None:
        """Report pods as ready, once the rollout is told, until it is done."""
        self._wait("a rollout told", lambda: self._says("Reconciling", "RollingOut"))
        self._wait("rolled out", lambda: self._serves(replicas))

    def _serves(self, replicas: int) -> bool:
        """Report each worker as ready; return whether all are told, and no other is left."""
        pods = self.api.list("pods", self.namespace, f"{names.ROLE_LABEL}={names.WORKER}")
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now()[:19] + "Z"}
        for pod in pods:
            if not is_ready(pod):
                self._report(pod, {"phase": "Running", "conditions": [ready]})
        status = self.digits.status
        counts = {len(pods), status.get("replicas"), status.get("readyReplicas")}
        return counts == {replicas} and self.digits.kstatus() == "Current"

    def _unfinished(self) -> list[Json]:
        pods = self.api.list("pods", self.namespace, f"{names.ROLE_LABEL}={names.JOB}")
        return [pod for pod in pods if pod["status"]["phase"] == "Pending"]

    def _report(self, pod: Json, status: Json) -> None:
        try:
            self.api.patch("pods", self.namespace, pod["metadata"]["name"], {"status": status}, "status")
        except ApiError as error:
            if error.code != 404:
                raise

    def _deployment(self) -> Json:
        return self.api.get("deployments", self.namespace, "digits")

    def _says(self, kind: str, reason: str) -> bool:
        """Return whether a condition of the newest generation has a reason."""
        body = self.digits.read()
        for condition in body.get("status", {}).get("conditions", ()):
            if condition["type"] == kind:
                seen = condition["observedGeneration"] == body["metadata"]["generation"]
                return bool(seen and condition["reason"] == reason and condition["status"] == "True")
        return False

    def _wait(self, what: str, check: Callable[[], Any]) -> None:
        self.digits.wait(f"{self.namespace}: {what}", check, _PATIENCE)


Steps = tuple[Callable[[Life], None], ...]
STEPS: Steps = (Life.create, Life.update, Life.replace_model, Life.scale, Life.delete)


@dataclass(frozen=True)
class Chapter:
    """How a life was after a step, where nothing went wrong."""

    step: Callable[[Life], None]
    state: Json
    told: set[tuple[str, str, str]]
    count: int  # of what the test counts: writes, or events of watches; from the beginning on

    def repeated(self, life: Life) -> None:
        """Wait until another life is as this one was: the same objects and status, and nothing untold."""
        try:
            wait_until("the same", lambda: not self._missing(life), _PATIENCE)
        except AssertionError:
            raise AssertionError(f"{life.namespace}, {self.step.__name__}: {self._missing(life)}") from None

    def _missing(self, life: Life) -> list[str]:
        wrong = differences(life.state(), self.state)
        return [*wrong, *(f"not told: {event}" for event in self.told - life.told())]


def lived(life: Life, count: Callable[[], int], steps: Steps = STEPS) -> list[Chapter]:
    """Live, and return how it is where nothing goes wrong."""
    chapters = []
    for step in steps:
        step(life)
        chapters.append(Chapter(step, life.state(), life.told(), count()))
    return chapters


def repeated_jobs(control_plane: ControlPlane, prefix: str) -> list[str]:
    """Return namespace/name of each Job that was created more than once, in namespaces that begin so."""
    made = Counter(
        f"{request.namespace}/{request.name}"
        for request in control_plane.audit()
        if (request.verb, request.resource, request.code) == ("create", "jobs", 201)
    )
    assert made, "the audit log names no Job"
    return [name for name, count in made.items() if count > 1 and name.startswith(prefix)]


def failures(ends_well: Callable[[int], None], numbers: Iterable[int], at_once: int) -> list[str]:
    """Live a life for each number, some at once; return what went wrong."""

    def attempt(number: int) -> str | None:
        try:
            ends_well(number)
        except (AssertionError, ApiError) as error:
            return f"{number}: {error}"
        return None

    with ThreadPoolExecutor(at_once) as threads:
        return [each for each in threads.map(attempt, numbers) if each]


def up_to(chapters: list[Chapter], number: int) -> list[Chapter]:
    """Return the chapters until the one in which a write or event comes."""
    until = next(index for index, chapter in enumerate(chapters, 1) if chapter.count >= number)
    return chapters[:until]


def fresh_life(control_plane: ControlPlane, namespace: str) -> Life:
    """Make a namespace and return a life to be lived in it."""
    make_namespace(control_plane.admin, namespace)
    return Life(control_plane, namespace)


def _ended_well(pod: Json) -> Json:
    """Return the status of a Job's pod that has made the artifact of its recipe."""
    recipe = hashlib.sha256(recipe_of(pod["spec"]).encode()).hexdigest()
    return succeeded(pod["spec"], f"sha256:{recipe}")


def _essence(body: Json) -> Json:
    """Return what of an object is not the server's choice."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in _OF_THE_SERVER}
    owners = [(owner["kind"], owner["name"]) for owner in metadata.pop("ownerReferences", ())]
    rest = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    made: Json = _without_uids({"metadata": metadata, "owners": owners, **rest})
    return made


def _without_uids(value: Any) -> Any:
    """Return a value without UIDs of Jobs, addresses of Services, and hashes that hold the namespace."""
    if isinstance(value, dict):
        return {key: _without_uids(below) for key, below in value.items() if not _is_chosen(key)}
    return [_without_uids(item) for item in value] if isinstance(value, list) else value


def _is_chosen(key: str) -> bool:
    return key.endswith("controller-uid") or key in ("clusterIP", "clusterIPs", names.APPLIED_ANNOTATION)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(below) for key, below in value.items() if key != "lastTransitionTime"}
    return [_without_times(item) for item in value] if isinstance(value, list) else value
