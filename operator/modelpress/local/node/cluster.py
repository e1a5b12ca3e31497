"""A Cluster of this machine: objects in memory, pods as processes, a Service as a loopback proxy.

It plays the API server, the Job and Deployment controllers and the kubelet for one reconcile loop; all its
methods must be called from that loop's thread. Networks, quotas, scheduling and images are not played.
"""

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelpress.api import names
from modelpress.local.node import deployments, jobs
from modelpress.local.node.pods import PodProcess, remove_folder
from modelpress.local.node.podstatus import timestamp
from modelpress.local.node.proxy import Proxy
from modelpress.planning.children import objects
from modelpress.planning.problems import waiting
from modelpress.planning.types import Body, EventNote, Key, Mark, Observed, Ref

GRACE = 30.0  # seconds, where a pod does not say
CREATED_ONCE = ("Job", "ControllerRevision")
SERVED_PORT = "http"

Secrets = Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True)
class Hooks:
    """Whom to tell. `wake` and `line` are called from the pods' threads."""

    wake: Callable[[], None]  # something changed: reconcile soon
    line: Callable[[str, str], None]  # role of the pod (job or entry) and a line of its output
    event: Callable[[EventNote], None]  # about the ModelDeployment


@dataclass
class _Pod:
    body: dict[str, Any]
    process: PodProcess
    stopper: threading.Thread | None = None

    def seen(self) -> dict[str, Any]:
        """Return the pod with its status."""
        return {**self.body, "status": self.process.status()}


class LocalCluster:
    """Implements `controllers.cluster.Cluster`; `step` does what the other controllers would do."""

    def __init__(self, folder: Path, secrets: Secrets, hooks: Hooks, port: int = 0) -> None:
        """Keep the pods' folders below `folder`; `port` is that of the first Service, 0: any free one."""
        self._folder = folder
        self._secrets = secrets
        self._hooks = hooks
        self._port = port
        self._bodies: dict[tuple[str, str, str], dict[str, Any]] = {}  # keys are kind, namespace and name
        self._pods: list[_Pod] = []
        self._proxies: dict[str, Proxy] = {}  # keys are UIDs of Services
        self._version = 0

    # the API

    def create(self, resource: Body) -> Key:
        """Store a ModelDeployment whose defaults are filled in."""
        metadata = {"namespace": "default", **resource["metadata"]}
        body = self._store({**resource, "metadata": metadata})
        return Key(body["metadata"]["namespace"], body["metadata"]["name"])

    def observe(self, key: Key) -> Observed | None:
        """Return what there is; the last step's view of it."""
        resource = self._bodies.get((names.KIND, *key))
        if resource is None:
            return None
        now = datetime.now(UTC)
        pods = [pod for pod in self._pods if pod.body["metadata"]["namespace"] == key.namespace]
        seen = tuple(pod.seen() for pod in pods)
        return Observed(
            resource=resource,
            now=now,
            jobs=self._of("Job"),
            revisions=self._of("ControllerRevision"),
            deployments=self._of("Deployment"),
            services=self._of("Service"),
            network_policies=self._of("NetworkPolicy"),
            disruption_budgets=self._of("PodDisruptionBudget"),
            pods=seen,
            live_jobs=frozenset(map(objects.uid_of, self._of("Job"))),
            events=tuple(
                event
                for pod, body in zip(pods, seen, strict=True)
                for event in pod.process.events()
                if _holds(event, body, now)
            ),
        )

    def read_live(self, observed: Observed, jobs: tuple[Ref, ...]) -> Observed:
        """Return the observation: what is seen here is always live."""
        return observed

    def annotate(self, mark: Mark) -> None:
        """Do nothing: a pod's result lives as long as its Job."""

    def wait_for_slot(self, key: Key, since: str | None) -> None:
        """Do nothing: the only Job has a slot."""

    def apply(self, body: Body) -> Mapping[str, Any]:
        """Create or replace; Jobs and ControllerRevisions are created only."""
        metadata = body["metadata"]
        known = self._bodies.get((body["kind"], metadata["namespace"], metadata["name"]))
        if known and body["kind"] in CREATED_ONCE:
            return known
        stored = self._store(body)
        if body["kind"] == "Service" and stored["metadata"]["uid"] not in self._proxies:
            selector = dict(body["spec"]["selector"])
            proxy = Proxy(lambda: self._ready_ports(selector), 0 if self._proxies else self._port)
            self._proxies[stored["metadata"]["uid"]] = proxy
        self._hooks.wake()
        return stored

    def check(self, body: Body) -> None:
        """Do nothing: all that `apply` is given is accepted."""

    def delete(self, ref: Ref) -> None:
        """Delete an object and, in the background, the pods that it owns."""
        key = (ref.kind, ref.namespace, ref.name)
        body = self._bodies.get(key)
        if body is None or (ref.uid and ref.uid != body["metadata"]["uid"]):
            return
        del self._bodies[key]
        proxy = self._proxies.pop(body["metadata"]["uid"], None)
        if proxy:
            proxy.close()
        for pod in self._owned(body):
            self._end(pod)
        self._hooks.wake()

    def write_status(self, resource: Body, status: Body) -> None:
        """Replace the status of a ModelDeployment."""
        metadata = resource["metadata"]
        self._bodies[names.KIND, metadata["namespace"], metadata["name"]]["status"] = dict(status)
        self._hooks.wake()

    def record(self, resource: Body, notes: tuple[EventNote, ...]) -> None:
        """Pass events on."""
        for note in notes:
            self._hooks.event(note)

    def url(self, service: Key) -> str | None:
        """Return where a Service answers on this machine."""
        body = self._bodies.get(("Service", *service))
        proxy = self._proxies.get(body["metadata"]["uid"]) if body else None
        return proxy.url if proxy else None

    # the other controllers

    def step(self) -> None:
        """Let Jobs and Deployments start and stop pods, write their status, forget pods that have ended."""
        now = datetime.now(UTC)
        for job in self._of("Job"):
            step = jobs.step(job, [pod.seen() for pod in self._owned(job)], now)
            job["status"] = step.status
            if step.start:
                self._start(job)
            if step.stop:
                self._stop_all(self._owned(job))
        for deployment in self._of("Deployment"):
            scaling = deployments.scale(deployment, self._seen(deployment))
            for _ in range(scaling.start):
                self._start(deployment, {deployments.HASH_LABEL: deployments.template_hash(deployment)})
            self._stop_all(
                pod for pod in self._owned(deployment) if objects.name_of(pod.body) in scaling.stop
            )
            deployment["status"] = deployments.status(deployment, self._seen(deployment), now)
        self._forget_ended()

    def close(self, grace: float) -> None:
        """Stop everything; returns when no process and no listener is left."""
        while self._proxies:
            self._proxies.popitem()[1].close()
        stops = [threading.Thread(target=pod.process.stop, args=(grace,)) for pod in self._pods]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()

    # objects

    def _of(self, kind: str) -> tuple[dict[str, Any], ...]:
        return tuple(body for (known, _, _), body in self._bodies.items() if known == kind)

    def _store(self, body: Body) -> dict[str, Any]:
        metadata = body["metadata"]
        key = (body["kind"], metadata["namespace"], metadata["name"])
        known = self._bodies.get(key, {})
        before = known.get("metadata", {})
        self._version += 1
        changed = any(known.get(key) != value for key, value in body.items() if key != "metadata")
        stored = {
            **body,
            "metadata": {
                **metadata,
                "uid": before.get("uid") or str(uuid.uuid4()),
                "creationTimestamp": before.get("creationTimestamp") or timestamp(datetime.now(UTC)),
                "generation": before.get("generation", 0) + changed,
                "resourceVersion": str(self._version),
            },
        }
        if "status" in known:
            stored["status"] = known["status"]
        self._bodies[key] = stored
        return stored

    # pods

    def _owned(self, owner: Body) -> list[_Pod]:
        uid = objects.uid_of(owner)
        return [pod for pod in self._pods if objects.dig(objects.controller(pod.body), "uid") == uid]

    def _seen(self, owner: Body) -> list[dict[str, Any]]:
        return [pod.seen() for pod in self._owned(owner)]

    def _start(self, owner: Body, labels: Mapping[str, str] | None = None) -> None:
        template, metadata = owner["spec"]["template"], owner["metadata"]
        described = dict(template.get("metadata") or {})
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **described,
                "labels": {**described.get("labels", {}), **(labels or {})},
                "name": f"{metadata['name']}-{uuid.uuid4().hex[:5]}",
                "namespace": metadata["namespace"],
                "uid": str(uuid.uuid4()),
                "creationTimestamp": timestamp(datetime.now(UTC)),
                "ownerReferences": [
                    {
                        "apiVersion": owner["apiVersion"],
                        "kind": owner["kind"],
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                    }
                ],
            },
            "spec": template["spec"],
        }
        role = objects.label(body, names.ROLE_LABEL) or owner["kind"]
        process = PodProcess(
            body,
            self._folder / body["metadata"]["name"],
            self._secrets.get,
            self._hooks.wake,
            on_line=lambda _, line: self._hooks.line(role, line),
        )
        self._pods.append(_Pod(body, process))
        process.start()

    def _stop_all(self, pods: Iterable[_Pod]) -> None:
        for pod in pods:
            self._end(pod)

    def _end(self, pod: _Pod) -> None:
        if pod.stopper:
            return
        grace = float(pod.body["spec"].get("terminationGracePeriodSeconds", GRACE))
        pod.body["metadata"]["deletionTimestamp"] = timestamp(datetime.now(UTC))
        pod.stopper = threading.Thread(target=pod.process.stop, args=(grace,), daemon=True)
        pod.stopper.start()

    def _forget_ended(self) -> None:
        for pod in [pod for pod in self._pods if pod.stopper and not pod.stopper.is_alive()]:
            self._pods.remove(pod)
            remove_folder(pod.process.folder)

    def _ready_ports(self, selector: Mapping[str, str]) -> list[int]:
        # called by the proxy's thread: works on a copy of the list
        return [
            pod.process.port(SERVED_PORT)
            for pod in list(self._pods)
            if selector.items() <= pod.body["metadata"]["labels"].items()
            and not objects.deleting(pod.body)
            and objects.is_true(pod.seen(), "Ready")
        ]


def _holds(event: Body, pod: Body, now: datetime) -> bool:
    """Return whether an event may tell what holds a pod: probes fail while a worker starts."""
    if event["type"] != "Warning":
        return False
    return event["reason"] != "Unhealthy" or not waiting.is_starting(pod, now)
