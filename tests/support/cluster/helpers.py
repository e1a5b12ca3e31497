"""What the tests of the operator share: the process, manifests, readings of status, and clients of pods."""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from modelpress.api import names
from tests.support.cluster.api import Api, Json, path
from tests.support.cluster.controlplane import ControlPlane, Request, free_port, wait_until
from tests.support.cluster.node import ADDRESS_ANNOTATION

SLOT = "example.com/slot"
TWO_SLOTS = "example.com/two"  # devices of which the node has as many
THREE_SLOTS = "example.com/three"
JOB_SECONDS = 480  # deadline of what includes a compression Job, on a busy machine
ROLLOUT_SECONDS = 120


class Operator:
    """The operator as its own process, with the rights of its ServiceAccount."""

    def __init__(
        self,
        kubeconfig: Path,
        user: str,
        arguments: list[str],
        folder: Path,
        python: Path = Path(sys.executable),  # of another release, see earlier_release.py
    ) -> None:
        self.user = user  # as the audit log names it
        self._python = python
        self.folder = folder
        self._arguments = arguments
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._process: subprocess.Popen[bytes] | None = None
        self.liveness_port = 0

    def start(self) -> None:
        """Start it; it need not be ready when this returns."""
        self.liveness_port = free_port()
        port = ["--liveness-port", str(self.liveness_port)]
        with (self.folder / "operator.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._python), "-m", "modelpress", "operator", *self._arguments, *port],
                env=self._environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Send SIGKILL: no time to put anything in order."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send any signal."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None


def make_namespace(api: Api, name: str) -> None:
    """Make a namespace in which pods can run."""
    api.create("namespaces", None, {"metadata": {"name": name}})
    wait_until("ServiceAccount", lambda: api.find("serviceaccounts", name, "default"))


def is_answered(operator: Operator, page: str) -> bool:
    """Return whether a probe of the operator succeeds."""
    return httpx.get(f"http://127.0.0.1:{operator.liveness_port}/{page}", trust_env=False).is_success


def merge(base: Any, change: Any) -> Any:
    """Return a JSON merge patch applied (RFC 7386)."""
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return change
    merged = {key: value for key, value in base.items() if change.get(key, value) is not None}
    for key, value in change.items():
        if value is not None:
            merged[key] = merge(base.get(key, {}), value)
    return merged


def percent(value: str) -> float:
    """Return a percentage of the status as a number."""
    assert value.endswith("%")
    return float(value.removesuffix("%"))


def now() -> str:
    """Return the time as the audit log writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Deployed:
    """One ModelDeployment of a namespace, seen from outside."""

    def __init__(self, cluster: ControlPlane, namespace: str, name: str) -> None:
        self.cluster = cluster
        self.api: Api = cluster.admin
        self.namespace = namespace
        self.name = name

    # changes

    def apply(self, spec: Json) -> str:
        """kubectl apply; return the time just before."""
        before = now()
        metadata = {"name": self.name, "namespace": self.namespace}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
        self.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(body))
        return before

    def create(self, spec: Json, annotations: Mapping[str, str] | None = None) -> Json:
        """Create it. Raises ApiError where its name is taken."""
        metadata = {"name": self.name, "annotations": dict(annotations or {})}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
        return self.api.create("modeldeployments", self.namespace, body)

    def replace(self, spec: Json) -> None:
        """Put a spec in the place of the whole one."""
        self.api.json_patch("modeldeployments", self.namespace, self.name, "/spec", spec)

    def patch(self, spec: Json) -> int:
        """Merge into the spec; return the new generation."""
        body = self.api.patch("modeldeployments", self.namespace, self.name, {"spec": spec})
        generation: int = body["metadata"]["generation"]
        return generation

    def write_scale(self, replicas: int, manager: str, api: Api | None = None) -> None:
        """Set replicas as an autoscaler does: read /scale and write it, once more after each conflict."""
        user, where = api or self.api, path("modeldeployments", self.namespace, self.name, "scale")

        def write() -> Json:
            scale = {**user.request("GET", where), "spec": {"replicas": replicas}}
            return user.request("PUT", where, scale, fieldManager=manager)

        wait_until("the scale written", write)

    def annotate(self, annotation: str, value: str) -> None:
        """Set an annotation."""
        body = {"metadata": {"annotations": {annotation: value}}}
        self.api.patch("modeldeployments", self.namespace, self.name, body)

    # readings

    def read(self) -> Json:
        """Return the resource."""
        return self.api.get("modeldeployments", self.namespace, self.name)

    @property
    def status(self) -> Json:
        """Its status, {} before the first."""
        status: Json = self.read().get("status", {})
        return status

    def condition(self, kind: str) -> Json:
        """Return a condition, {} where it is not there."""
        conditions = self.status.get("conditions", ())
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def kstatus(self) -> str:
        """Return what kstatus (Argo CD, Flux, kubectl wait) makes of it: Current, InProgress or Failed.

        The generic rules of sigs.k8s.io/cli-utils pkg/kstatus/status.
        """
        body = self.read()
        status = body.get("status", {})
        if status.get("observedGeneration") != body["metadata"]["generation"]:
            return "InProgress"
        truth = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
        if truth.get("Stalled") == "True":
            return "Failed"
        if truth.get("Reconciling") == "True" or truth.get("Ready") != "True":
            return "InProgress"
        return "Current"

    def children(self, plural: str) -> list[Json]:
        """Return its objects of a kind."""
        return self.api.list(plural, self.namespace, f"{names.NAME_LABEL}={self.name}")

    def job_names(self) -> set[str]:
        """Return the names of its Jobs."""
        return {job["metadata"]["name"] for job in self.children("jobs")}

    def ready_pods(self) -> list[Json]:
        """Return the workers that a Service would send requests to."""
        selector = names.selector_text(names.worker_selector(self.name))
        return [pod for pod in self.api.list("pods", self.namespace, selector) if is_ready(pod)]

    def addresses(self) -> list[str]:
        """Return host:port of each ready worker."""
        return [pod["metadata"]["annotations"][ADDRESS_ANNOTATION] for pod in self.ready_pods()]

    # waiting

    def wait(self, what: str, check: Callable[[], Any], seconds: float = ROLLOUT_SECONDS) -> Any:
        """Wait for a check; a failure shows the status."""
        try:
            return wait_until(what, check, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\nstatus: {yaml.safe_dump(self.read().get('status'))}") from None

    def wait_current(self, seconds: float = ROLLOUT_SECONDS) -> Json:
        """Wait until the newest generation is done (kstatus Current); return the status.

        A verdict of Failed ends the wait: it is final by its meaning.
        """
        verdict = self.wait("kstatus Current", self._verdict, seconds)
        assert verdict == "Current", f"status: {yaml.safe_dump(self.status)}"
        return self.status

    def _verdict(self) -> str | None:
        found = self.kstatus()
        return None if found == "InProgress" else found

    def wait_stalled(self, reason: str, seconds: float = ROLLOUT_SECONDS) -> Json:
        """Wait until the newest generation is Stalled for `reason`; return the condition."""

        def stalled() -> bool:
            condition = self.condition("Stalled")
            return self.kstatus() == "Failed" and condition.get("reason") == reason

        self.wait(f"Stalled {reason}", stalled, seconds)
        return self.condition("Stalled")

    def writes_since(self, since: str, user: str) -> list[Request]:
        """Return the operator's writes from `since` on, in this namespace."""
        found = self.cluster.audit(user=user, since=since)
        return [request for request in found if request.writes and request.namespace == self.namespace]


def is_ready(pod: Json) -> bool:
    """Return whether a pod takes requests: ready and not on its way out."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def predict(address: str, name: str, rows: np.ndarray) -> np.ndarray:
    """Send rows over the Open Inference Protocol v2 and return the first output."""
    url = f"http://{address}/v2/models/{name}"
    with httpx.Client(timeout=30, trust_env=False) as http:
        (source,) = http.get(url).raise_for_status().json()["inputs"]
        tensor = {
            "name": source["name"],
            "datatype": "FP32",
            "shape": list(rows.shape),
            "data": rows.astype(np.float32).ravel().tolist(),
        }
        answer = http.post(f"{url}/infer", json={"inputs": [tensor]}).raise_for_status().json()
    output = answer["outputs"][0]
    return np.asarray(output["data"], np.float32).reshape(output["shape"])


class Traffic:
    """A client that asks a ready pod again and again, as a Service would spread requests."""

    def __init__(self, deployed: Deployed, rows: np.ndarray) -> None:
        self._deployed = deployed
        self._rows = rows
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers = 0
        self.failures: list[str] = []

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                address = random.choice(self._deployed.addresses())
                predict(address, self._deployed.name, self._rows)
            except (IndexError, httpx.HTTPError) as error:
                self.failures.append(f"{now()} {error!r}")
            else:
                self.answers += 1
            time.sleep(0.05)  # leaves the processor to the pods
