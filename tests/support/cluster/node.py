"""The test node: follows the scheduler's decisions and runs each pod's real commands as processes.

It does what a kubelet does towards the API server, with a kubelet's own rights (system:node:NAME): registers
and reports Ready, watches the pods bound to it, reads only their Secrets, patches their status, records
events, ends them with their grace period. It pulls no images and gives no addresses: loopback addresses
cannot be endpoints, so the annotation `node.modelpress.dev/http` tells test clients where a pod answers.
"""

import base64
import contextlib
import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx

from modelpress.local.node.pods import PodProcess, remove_folder
from tests.support.cluster.api import Api, ApiError, Json

logger = logging.getLogger(__name__)

ADDRESS_ANNOTATION = "node.modelpress.dev/http"
HEARTBEAT = 5.0  # seconds
LEASES = "kube-node-lease"


class QuickPod(PodProcess):
    """A pod whose crash back-off is short enough for tests."""

    first_backoff: ClassVar[float] = 1.0


class Node:
    """One node; `capacity` as in node.status, such as {"cpu": "8", "example.com/slot": "8"}."""

    def __init__(self, api: Api, name: str, capacity: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self._api = api
        self._capacity = dict(capacity)
        self.folder = folder
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._pods: dict[str, _Pod] = {}
        self._threads = [
            threading.Thread(target=self._beat, name=f"{name}-heartbeat", daemon=True),
            threading.Thread(target=self._follow, name=f"{name}-watch", daemon=True),
        ]

    def start(self) -> None:
        """Register and begin to run pods."""
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
        }
        self._api.create("nodes", None, body)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all pods' processes; the API server is told nothing more."""
        self._stopping.set()
        with self._lock:
            pods = list(self._pods.values())
        for pod in pods:
            pod.abandon()
        for pod in pods:
            pod.join()

    # registration

    def _beat(self) -> None:
        while True:
            try:
                self._report()
                self._renew_lease()
            except (ApiError, httpx.TransportError) as error:
                logger.warning("node %s: heartbeat: %s", self.name, error)
            if self._stopping.wait(HEARTBEAT):
                return

    def _report(self) -> None:
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "test node is posting ready status",
            "lastHeartbeatTime": _now(),
        }
        status = {"capacity": self._capacity, "allocatable": self._capacity, "conditions": [ready]}
        self._api.patch("nodes", None, self.name, {"status": status}, "status")

    def _renew_lease(self) -> None:
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": 40,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": LEASES},
            "spec": spec,
        }
        if self._api.find("leases", LEASES, self.name):
            self._api.patch("leases", LEASES, self.name, {"spec": spec})
        else:
            self._api.create("leases", LEASES, body)

    # pods

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                for event, body in self._api.watch("pods", fieldSelector=f"spec.nodeName={self.name}"):
                    if self._stopping.is_set():
                        return
                    if event == "SYNC":
                        self._sync(body["items"])
                    else:
                        self._see(body, gone=event == "DELETED")
            except (ApiError, httpx.HTTPError) as error:
                if not self._stopping.wait(1):
                    logger.warning("node %s: watch: %s", self.name, error)

    def _sync(self, bodies: list[Json]) -> None:
        for body in bodies:
            self._see(body, gone=False)
        present = {body["metadata"]["uid"] for body in bodies}
        with self._lock:
            lost = [pod for uid, pod in self._pods.items() if uid not in present]
        for pod in lost:
            pod.update(pod.body, gone=True)

    def _see(self, body: Json, *, gone: bool) -> None:
        uid = body["metadata"]["uid"]
        with self._lock:
            pod = self._pods.get(uid)
            if pod is None:
                if gone or self._stopping.is_set():
                    return
                pod = self._pods[uid] = _Pod(self._api, body, self.folder / uid, self._forget)
                pod.start()
        pod.update(body, gone=gone)

    def _forget(self, uid: str) -> None:
        with self._lock:
            self._pods.pop(uid, None)


class _Pod:
    """One pod and its thread: start, report each change, end when it is deleted."""

    def __init__(self, api: Api, body: Json, folder: Path, forget: Any) -> None:
        self.body = body
        self._api = api
        self._folder = folder
        self._forget = forget
        self._wake = threading.Event()
        self._gone = False
        self._abandoned = False
        self._stopper: threading.Thread | None = None
        self._stopped = False
        self._reported: Json = {}
        self._recorded: set[tuple[str, str]] = set()
        self._process = QuickPod(body, folder, self._secret, self._wake.set)
        self._thread = threading.Thread(target=self._run, name=body["metadata"]["name"], daemon=True)

    @property
    def _key(self) -> tuple[str, str]:
        metadata = self.body["metadata"]
        return metadata["namespace"], metadata["name"]

    def start(self) -> None:
        self._thread.start()

    def update(self, body: Json, *, gone: bool) -> None:
        """Take the newest object; `gone`: it no longer exists in the API."""
        self.body = body
        self._gone = self._gone or gone
        self._wake.set()

    def abandon(self) -> None:
        """Stop the processes without a word to the API server."""
        self._abandoned = True
        self._wake.set()

    def join(self) -> None:
        self._thread.join(30)

    def _run(self) -> None:
        metadata = self.body["metadata"]
        if self.body.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            self._process.start()
        try:
            while not self._step():
                self._wake.wait()
                self._wake.clear()
        finally:
            self._process.stop(0)
            self._forget(metadata["uid"])
            remove_folder(self._folder / "volumes")  # logs stay for whoever reads a failed test

    def _step(self) -> bool:
        """Bring the API server and the processes together once; True when the pod is over."""
        if self._gone or self._abandoned:
            return True
        try:
            self._report()
            self._record_events()
            if self.body["metadata"].get("deletionTimestamp"):
                return self._end()
        except ApiError as error:
            if error.code != 404:  # deleted meanwhile: the watch will say so
                logger.warning("pod %s: %s", self._key, error)
                threading.Timer(1, self._wake.set).start()
        except httpx.TransportError as error:
            logger.warning("pod %s: %s", self._key, error)
            threading.Timer(1, self._wake.set).start()
        return False

    def _end(self) -> bool:
        if self._stopper is None:
            grace = self.body["metadata"].get("deletionGracePeriodSeconds") or 0
            self._stopper = threading.Thread(target=self._stop, args=(grace,), daemon=True)
            self._stopper.start()
        if not self._stopped:
            return False
        self._report()
        namespace, name = self._key
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.body["metadata"]["uid"]}}
        self._api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", body)
        return True

    def _stop(self, grace: float) -> None:
        self._process.stop(grace)
        self._stopped = True
        self._wake.set()

    def _report(self) -> None:
        status = self._process.status()
        if status == self._reported:
            return
        metadata: Json = {"uid": self.body["metadata"]["uid"]}
        with contextlib.suppress(KeyError):  # a Job's pod takes no requests
            metadata["annotations"] = {ADDRESS_ANNOTATION: f"127.0.0.1:{self._process.port('http')}"}
        self._api.patch("pods", *self._key, {"metadata": metadata, "status": status}, "status")
        self._reported = status

    def _record_events(self) -> None:
        for event in self._process.events():
            words = (event["reason"], event["message"])
            if words in self._recorded:
                continue
            try:
                self._api.create("events", event["metadata"]["namespace"], event)
            except ApiError as error:
                if "NamespaceTerminating" not in str(error):  # takes nothing new, and waits for the pod's end
                    raise
            self._recorded.add(words)

    def _secret(self, name: str) -> Mapping[str, bytes] | None:
        namespace = self.body["metadata"]["namespace"]
        try:
            secret = self._api.get("secrets", namespace, name)
        except (ApiError, httpx.TransportError):
            return None
        return {key: base64.b64decode(value) for key, value in secret.get("data", {}).items()}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
