"""One container as a process: start, probe, end, restart with back-off, and what a kubelet says of it."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelpress.api.contract import TERMINATION_MESSAGE_LIMIT
from modelpress.local.node import probes
from modelpress.local.node.environment import (
    ConfigError,
    Relocation,
    SecretLookup,
    process_command,
    process_environment,
)
from modelpress.local.node.podstatus import ContainerState, timestamp
from modelpress.local.node.processes import LoggedProcess
from modelpress.planning.types import Body

MAX_BACKOFF = 300.0  # seconds
BACKOFF_RESET = 600.0  # a container that ran this long starts again with the first back-off
CONFIG_RETRY = 1.0  # seconds between looks at a missing Secret
LOG_TAIL_LINES = 80  # FallbackToLogsOnError
LOG_TAIL_BYTES = 2048
SIGKILL_EXIT = 137


@dataclass(frozen=True)
class PodContext:
    """What the containers of one pod share."""

    pod: Body
    folder: Path
    secret: SecretLookup
    backoff: float  # seconds before the second restart; doubles
    stopping: threading.Event
    changed: Callable[[], None]
    event: Callable[[str, str, str], None]  # type, reason, message
    on_line: Callable[[str, str], None]  # container, line

    @property
    def policy(self) -> str:
        """Always, OnFailure or Never."""
        return str(self.pod["spec"].get("restartPolicy", "Always"))

    @property
    def full_name(self) -> str:
        """The pod in the kubelet's back-off message."""
        metadata = self.pod["metadata"]
        return f"{metadata['name']}_{metadata.get('namespace', 'default')}({metadata.get('uid', '')})"


class Container:
    """One container; `run` blocks until it will not be started again."""

    def __init__(self, body: Body, context: PodContext, relocation: Relocation, *, init: bool) -> None:
        self.body = body
        self._context = context
        self.relocation = relocation
        self._init = init
        self._lock = threading.Lock()
        self._process: LoggedProcess | None = None
        self._startup, self._readiness, self._liveness = (
            probes.parse(body, kind, lambda port: local_port(body, relocation, port)) for kind in probes.KINDS
        )
        waiting = "PodInitializing" if context.pod["spec"].get("initContainers") else "ContainerCreating"
        self.state = ContainerState(
            body["name"], body.get("image", ""), state={"waiting": {"reason": waiting}}
        )

    @property
    def folder(self) -> Path:
        """Working directory of the process."""
        return self._context.folder / str(self.body["name"])

    def run(self) -> bool:
        """Run until the restart policy or a stop ends it; return whether the last run succeeded."""
        delay = 0.0
        while True:
            begun = time.monotonic()
            ended = self._run_once()
            if ended is None:
                return False
            if self._context.stopping.is_set() or not self._restarts(ended["exitCode"]):
                self._set(state={"terminated": ended}, ready=False, started=False)
                return bool(ended["exitCode"] == 0)
            if time.monotonic() - begun > BACKOFF_RESET:
                delay = 0.0
            self._wait_for_restart(ended, delay)
            delay = min(max(2 * delay, self._context.backoff), MAX_BACKOFF)
            if self._context.stopping.is_set():
                self._set(state={"terminated": ended})
                return False
            self._set(restarts=self.state.restarts + 1)

    def terminate(self) -> None:
        """Send SIGTERM where a process runs; none is started after the pod's stop."""
        with self._lock:
            if self._process:
                self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to what is left."""
        with self._lock:
            if self._process:
                self._process.kill()

    def _restarts(self, exit_code: int) -> bool:
        if self._context.policy == "Always":
            return not self._init or exit_code != 0
        return self._context.policy == "OnFailure" and exit_code != 0

    def _wait_for_restart(self, ended: Body, delay: float) -> None:
        if delay == 0.0:  # the kubelet starts it again at once after the first end
            self._set(
                state={"terminated": ended}, last_state={"terminated": ended}, ready=False, started=False
            )
            return
        name = self.body["name"]
        message = f"back-off {delay:g}s restarting failed container={name} pod={self._context.full_name}"
        self._context.event(
            "Warning",
            "BackOff",
            f"Back-off restarting failed container {name} in pod {self._context.full_name}",
        )
        self._set(
            state={"waiting": {"reason": "CrashLoopBackOff", "message": message}},
            last_state={"terminated": ended},
            ready=False,
            started=False,
        )
        self._context.stopping.wait(delay)

    def _run_once(self) -> dict[str, Any] | None:
        """Start and follow the process; return its ContainerStateTerminated, None where a stop came first."""
        prepared = self._prepare()
        if prepared is None:
            return None
        command, environment = prepared
        self.relocation.termination.write_bytes(b"")
        begun = timestamp(datetime.now(UTC))
        with self._lock:
            if self._context.stopping.is_set():
                return None
            try:
                process = LoggedProcess(command, environment, self.folder, self.log, self._on_line)
            except (OSError, ValueError) as error:  # ValueError: a NUL in a word or variable
                problem = error.strerror if isinstance(error, OSError) else str(error)
                return _ended(
                    128,
                    "StartError",
                    f'exec: "{command[0]}": {problem}',
                    begun,
                    self.state.container_id,
                )
            self._process = process
        self._set(
            state={"running": {"startedAt": begun}},
            container_id=f"process://{process.pid}",
            ready=False,
            started=False,
        )
        stopped_by_probe = self._follow(process)
        code = process.wait(None)
        assert code is not None
        with self._lock:
            self._process = None
        return _ended(
            code,
            self._reason(code, killed=process.killed or stopped_by_probe),
            self._termination_message(code),
            begun,
            f"process://{process.pid}",
        )

    @property
    def log(self) -> Path:
        """File with the output of all its runs."""
        return self._context.folder / f"{self.body['name']}.log"

    def _on_line(self, line: str) -> None:
        self._context.on_line(str(self.body["name"]), line)

    def _prepare(self) -> tuple[list[str], dict[str, str]] | None:
        while not self._context.stopping.is_set():
            try:
                environment = process_environment(
                    self.body, self._context.pod, self.relocation, self._context.secret, os.environ
                )
                return process_command(self.body, environment), environment
            except ConfigError as error:
                waiting = {"reason": "CreateContainerConfigError", "message": str(error)}
                self._set(state={"waiting": waiting})
                self._context.event("Warning", "Failed", f"Error: {error}")
            self._context.stopping.wait(CONFIG_RETRY)
        return None

    @staticmethod
    def _reason(code: int, *, killed: bool) -> str:
        if code == 0:
            return "Completed"
        # a SIGKILL that is not ours is the kernel's, for want of memory
        return "OOMKilled" if code == SIGKILL_EXIT and not killed else "Error"

    def _termination_message(self, code: int) -> str:
        content = self.relocation.termination.read_bytes()[:TERMINATION_MESSAGE_LIMIT]
        if not content and code and self.body.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            tail = b"\n".join(self.log.read_bytes().splitlines()[-LOG_TAIL_LINES:])
            content = tail[-LOG_TAIL_BYTES:]
        return content.decode("utf-8", "replace")

    # probes

    def _follow(self, process: LoggedProcess) -> bool:
        """Probe until the process ends; return whether a failed probe made us stop it."""
        to_be_stopped = False
        if self._startup:
            to_be_stopped = not self._watch(process, [self._startup], until_started=True)
        if not to_be_stopped and process.wait(0) is None:
            self._set(started=True, ready=self._readiness is None)
            watched = [probe for probe in (self._readiness, self._liveness) if probe]
            to_be_stopped = not self._watch(process, watched, until_started=False)
        if to_be_stopped:
            self._stop_unhealthy(process)
        return to_be_stopped

    def _watch(self, process: LoggedProcess, watched: list[probes.Probe], *, until_started: bool) -> bool:
        """Run probes until the process ends or the startup probe passes; False: one asks to kill it."""
        now = time.monotonic()
        due = {probe.kind: now + probe.initial_delay for probe in watched}
        tallies = {probe.kind: probes.Tally(passing=probe.kind == "liveness") for probe in watched}
        while True:
            pause = max(0.0, min(due.values()) - time.monotonic()) if due else None
            if process.wait(pause) is not None:
                return True
            for probe in watched:
                if due[probe.kind] > time.monotonic():
                    continue
                due[probe.kind] = time.monotonic() + probe.period
                problem = probes.check(probe)
                tally = tallies[probe.kind] = tallies[probe.kind].observe(problem is None, probe)
                if problem and process.wait(0) is None:
                    self._context.event(
                        "Warning", "Unhealthy", f"{probe.kind.title()} probe failed: {problem}"
                    )
                if probe.kind == "readiness":
                    self._set(ready=tally.passing)
                elif self._context.stopping.is_set():
                    continue  # a pod that stops is not killed for being unhealthy
                elif tally.failed(probe):
                    return False
                elif until_started and tally.passing:
                    return True

    def _stop_unhealthy(self, process: LoggedProcess) -> None:
        self._context.event(
            "Normal", "Killing", f"Container {self.body['name']} failed a probe, will be restarted"
        )
        self._set(ready=False)
        process.terminate()
        if process.wait(self._context.pod["spec"].get("terminationGracePeriodSeconds", 30)) is None:
            process.kill()

    def _set(self, **changes: Any) -> None:
        changed = replace(self.state, **changes)
        if changed != self.state:
            self.state = changed
            self._context.changed()


def local_port(container: Body, relocation: Relocation, port: str | int) -> int:
    """Return the port of this machine for a container's port, given by name or number."""
    named: dict[str, int] = {
        entry["name"]: entry["containerPort"] for entry in container.get("ports", ()) if "name" in entry
    }
    number = named[port] if isinstance(port, str) else port
    return relocation.ports.get(number, number)


def _ended(code: int, reason: str, message: str, begun: str, container_id: str) -> dict[str, Any]:
    return {
        "exitCode": code,
        "reason": reason,
        **({"message": message} if message else {}),
        "startedAt": begun,
        "finishedAt": timestamp(datetime.now(UTC)),
        **({"containerID": container_id} if container_id else {}),
    }
