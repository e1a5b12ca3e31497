"""A node that takes pods and runs nothing: the tests report what its kubelet would, but for the pods' end.

A kubelet that was cut off for long says again that its pods are ready: the control plane took them for lost.
"""

import threading
import time
from typing import Self

import httpx

from tests.support.cluster.api import ApiError, Json
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.helpers import is_ready, now

NAME = "still"
_TAINT = {"key": "example.com/still", "effect": "NoSchedule"}  # it takes no pods of other tests
SETTINGS: Json = {
    "nodeSelector": {"example.com/still": "yes"},
    "tolerations": [{"key": "example.com/still", "operator": "Exists"}],
}
_CAPACITY = {"cpu": "9000", "memory": "9Ti", "pods": "9000", "ephemeral-storage": "9Ti"}
_BEAT_SECONDS, _LOOK_SECONDS = 5.0, 0.3
_BACK_SECONDS = 120.0  # in which the control plane finds pods lost, after an outage


class StillNode:
    """Is Ready, and lets go of pods that are to end, while a block lasts."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._api = control_plane.admin
        self._stopped = threading.Event()
        self._ready: set[str] = set()  # UIDs of pods
        self._away_at = -_BACK_SECONDS
        self._thread = threading.Thread(target=self._run, name="still-node", daemon=True)

    def __enter__(self) -> Self:
        metadata = {"name": NAME, "labels": {"example.com/still": "yes"}}
        self._api.create("nodes", None, {"metadata": metadata, "spec": {"taints": [_TAINT]}})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._api.delete("nodes", None, NAME)

    def _run(self) -> None:
        looks = 0
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                if looks % round(_BEAT_SECONDS / _LOOK_SECONDS) == 0:
                    self._beat()
                self._see_pods()
                looks += 1
            except (ApiError, httpx.TransportError):
                looks = 0  # the API server is away: beat as soon as it is back
                self._away_at = time.monotonic()

    def _beat(self) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": _second()}
        status = {"capacity": _CAPACITY, "allocatable": _CAPACITY, "conditions": [ready]}
        self._api.patch("nodes", None, NAME, {"status": status}, "status")

    def _see_pods(self) -> None:
        is_back = time.monotonic() - self._away_at < _BACK_SECONDS
        for pod in self._api.get("pods", fieldSelector=f"spec.nodeName={NAME}")["items"]:
            metadata = pod["metadata"]
            where = metadata["namespace"], metadata["name"]
            if metadata.get("deletionTimestamp"):
                self._api.delete("pods", *where, gracePeriodSeconds=0)
            elif is_ready(pod):
                self._ready.add(metadata["uid"])
            elif is_back and metadata["uid"] in self._ready:
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": _second()}
                self._api.patch("pods", *where, {"status": {"conditions": [ready]}}, "status")


def _second() -> str:
    return now()[:19] + "Z"
