"""Pods of PodProcess with real commands, and what is read from their status."""

import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import psutil

from modelpress.local.node.pods import PodProcess


class HastyPod(PodProcess):
    first_backoff: ClassVar[float] = 0.3


class Harness:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets: dict[str, dict[str, bytes]] = {}
        self.lines: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.pods: list[PodProcess] = []

    def on_change(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def start(self, **spec: Any) -> PodProcess:
        name = f"pod-{len(self.pods)}"
        body = {
            "metadata": {"name": name, "namespace": "team", "uid": "1234", "labels": {"a/b": "c"}},
            "spec": spec,
        }
        pod = HastyPod(
            body,
            self.folder / name,
            self.secrets.get,
            self.on_change,
            on_line=lambda container, line: self.lines.append((container, line)),
        )
        self.pods.append(pod)
        pod.start()
        return pod

    def until(self, condition: Any, what: str) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout=60), (
                f"never: {what}; {[p.status() for p in self.pods]}"
            )

    def ended(self, pod: PodProcess) -> dict[str, Any]:
        self.until(lambda: pod.finished, "finished")
        return pod.status()


def python(code: str, name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "any", "command": [sys.executable, "-c", code], **fields}


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry for entry in status["conditions"] if entry["type"] == kind)
    return found


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    except psutil.NoSuchProcess:
        return False


def all_gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(runs, pids))


def container(status: dict[str, Any]) -> dict[str, Any]:
    only: dict[str, Any] = status["containerStatuses"][0]
    return only
