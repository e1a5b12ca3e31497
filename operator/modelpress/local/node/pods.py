"""One pod as processes of this machine: what local mode and the test node run instead of a kubelet.

Supported: init containers in order, env with fieldRef and secretKeyRef, emptyDir and Secret volumes, named
ports, httpGet probes, restart policies, termination messages. Not supported: sidecars, other volumes and
probes, lifecycle hooks, resource limits, images (every command runs in our own environment).
"""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from modelpress.local.node.containers import Container, PodContext, local_port
from modelpress.local.node.environment import LOOPBACK, Relocation, SecretLookup
from modelpress.local.node.podstatus import pod_status, timestamp
from modelpress.local.secrets import is_key
from modelpress.planning.types import Body

MOUNT_RETRY = 1.0  # seconds between looks at a missing Secret
PRIVATE_FOLDER = 0o700


class PodProcess:
    """One pod; its containers' folders, volumes and logs (NAME.log) are in `folder`."""

    first_backoff: ClassVar[float] = 10.0  # seconds before the second restart of a container, as the kubelet

    def __init__(
        self,
        pod: Body,
        folder: Path,
        secret: SecretLookup,
        on_change: Callable[[], None],
        *,
        on_line: Callable[[str, str], None] = lambda container, line: None,
    ) -> None:
        """Prepare a pod.

        `secret` returns a Secret's content by name, or None. `on_change` is called from the pod's own threads
        whenever `status` or `events` would answer something new; `on_line` with each container's name and
        line of output.
        """
        self.pod = pod
        self.folder = folder
        self._secret = secret
        self._on_change = on_change
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._finished = False
        self._status: dict[str, Any] = {}
        self._events: dict[tuple[str, str, str], dict[str, Any]] = {}
        context = PodContext(
            pod=pod,
            folder=folder,
            secret=secret,
            backoff=self.first_backoff,
            stopping=self._stopping,
            changed=on_change,
            event=self._record,
            on_line=on_line,
        )
        spec = pod["spec"]
        self._init = [self._container(body, context, init=True) for body in spec.get("initContainers", ())]
        self._main = [self._container(body, context, init=False) for body in spec["containers"]]
        self._thread = threading.Thread(target=self._run, name=f"pod-{pod['metadata']['name']}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Send SIGTERM, after `grace` seconds SIGKILL; returns when no process of the pod is left."""
        self._stopping.set()
        containers = [*self._init, *self._main]
        for container in containers:
            container.terminate()
        if self._thread.ident is None:
            return
        self._thread.join(grace)
        while self._thread.is_alive():
            for container in containers:
                container.kill()
            self._thread.join(1.0)

    @property
    def finished(self) -> bool:
        """Whether every container has ended and none will be started again."""
        return self._finished

    def status(self) -> dict[str, Any]:
        """Return the v1 PodStatus as the kubelet reports it, without addresses."""
        with self._lock:
            self._status = pod_status(
                [container.state for container in self._init],
                [container.state for container in self._main],
                finished=self._finished,
                previous=self._status,
                now=datetime.now(UTC),
            )
            return self._status

    def events(self) -> list[dict[str, Any]]:
        """Return the v1 Events of this pod, oldest first; equal ones are counted."""
        with self._lock:
            return [dict(event) for event in self._events.values()]

    def port(self, name: str) -> int:
        """Return the port of this machine for a named port of the pod. Raises KeyError."""
        for container in self._main:
            if any(entry.get("name") == name for entry in container.body.get("ports", ())):
                return local_port(container.body, container.relocation, name)
        raise KeyError(name)

    # life

    def _run(self) -> None:
        if self._mount() and all(container.run() for container in self._init):
            threads = [threading.Thread(target=container.run, daemon=True) for container in self._main]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self._finished = True
        self._on_change()

    def _mount(self) -> bool:
        """Make the volumes' folders, waiting for missing Secrets; False where a stop came first."""
        volumes = {volume["name"]: volume for volume in self.pod["spec"].get("volumes", ())}
        for name, volume in volumes.items():
            while (problem := self._fill(volume, self._volume(name))) is not None:
                self._record(
                    "Warning", "FailedMount", f'MountVolume.SetUp failed for volume "{name}" : {problem}'
                )
                if self._stopping.wait(MOUNT_RETRY):
                    return False
        for container in (*self._init, *self._main):
            self._link(container)
        return not self._stopping.is_set()

    def _volume(self, name: str) -> Path:
        return self.folder / "volumes" / name

    def _fill(self, volume: Body, folder: Path) -> str | None:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        if "emptyDir" in volume:
            return None
        if "secret" not in volume:
            kinds = ", ".join(key for key in volume if key != "name")
            return f"volumes of type {kinds} are not available to local processes"
        return self._write_secret(volume["secret"], folder)

    def _write_secret(self, source: Body, folder: Path) -> str | None:
        content = self._secret(source["secretName"])
        if content is None:
            return None if source.get("optional") else f'secret "{source["secretName"]}" not found'
        paths = {item["key"]: item["path"] for item in source.get("items", ())} or {
            key: key for key in content
        }
        for key, path in paths.items():
            if key not in content:
                return f"references non-existent secret key: {key}"
            if not is_key(path):
                return f"invalid path of secret key {key}: must be the name of one file"
            try:
                _write_private(folder / path, content[key])
            except OSError as error:
                return f"secret key {key} cannot be written: {error.strerror}"
        return None

    def _link(self, container: Container) -> None:
        container.folder.mkdir(parents=True, exist_ok=True)
        mounts = sorted(container.body.get("volumeMounts", ()), key=lambda mount: len(mount["mountPath"]))
        for mount in mounts:  # outer mounts first: an inner one is linked into its volume
            link = container.relocation.root / mount["mountPath"].strip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(self._volume(mount["name"]).resolve(), target_is_directory=True)

    def _container(self, body: Body, context: PodContext, *, init: bool) -> Container:
        folder = (self.folder / body["name"]).resolve()
        ports = {entry["containerPort"]: free_port() for entry in body.get("ports", ())}
        relocation = Relocation(root=folder / "root", termination=folder / "termination-log", ports=ports)
        return Container(body, context, relocation, init=init)

    def _record(self, kind: str, reason: str, message: str) -> None:
        metadata = self.pod["metadata"]
        namespace = metadata.get("namespace", "default")
        now = timestamp(datetime.now(UTC))
        with self._lock:
            event = self._events.setdefault(
                (kind, reason, message),
                {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "metadata": {"name": f"{metadata['name']}.{time.time_ns():x}", "namespace": namespace},
                    "involvedObject": {
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "name": metadata["name"],
                        "namespace": namespace,
                        "uid": metadata.get("uid", ""),
                    },
                    "type": kind,
                    "reason": reason,
                    "message": message,
                    "source": {"component": "kubelet"},
                    "firstTimestamp": now,
                    "count": 0,
                },
            )
            event["count"] += 1
            event["lastTimestamp"] = now
        self._on_change()


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only the user can read; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def remove_folder(folder: Path) -> None:
    """Remove what a stopped pod left on disk."""
    shutil.rmtree(folder, ignore_errors=True)
