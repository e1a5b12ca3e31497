"""`modelpress run`: one ModelDeployment on this machine, by the operator's own control loop."""

import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from filelock import FileLock, Timeout

from modelpress.api.conditions import ConditionType, Reason
from modelpress.api.contract import JobResult
from modelpress.api.errors import UsageError
from modelpress.api.text import printable
from modelpress.controllers.reconcile import reconcile
from modelpress.local import documents, reports
from modelpress.local.display import Display
from modelpress.local.exit_codes import error_of, job_result
from modelpress.local.node.cluster import Hooks, LocalCluster
from modelpress.local.node.environment import LOOPBACK
from modelpress.local.node.pods import PRIVATE_FOLDER
from modelpress.planning.children import objects
from modelpress.planning.explanation import cause
from modelpress.planning.types import Body, EventNote, Key, Settings

GRACE = 10.0  # seconds that processes get to end
TICK = 1.0  # seconds between looks at clocks: deadlines and back-offs


@dataclass(frozen=True)
class RunOptions:
    """Options of `modelpress run`."""

    manifest: Path
    state: Path  # folder: artifacts/ is an OCI layout, runs/NAME/ the folder of a running resource
    port: int = 0  # in the URL; 0: any free one
    verbose: bool = False


def run(options: RunOptions) -> int:
    """Serve until a signal; return the exit code. Raises ModelPressError where the model cannot be served."""
    found = documents.read(options.manifest)
    body = documents.checked(found)
    _check_port(options.port)
    with Display(verbose=options.verbose) as display:
        if found.others:
            display.say(f"not used here: documents of kind {', '.join(found.others)}")
        if unused := documents.unused(body):
            display.say(f"not used here: {', '.join(unused)}")
        if body["spec"].pop("storage", None):
            display.say(f"spec.storage is not used here: artifacts are kept in {options.state / 'artifacts'}")
        name = body["metadata"]["name"]
        with _own_folder(options.state / "runs", name) as folder:
            return _Run(options, display, folder).serve(body, found.secrets)


def _check_port(port: int) -> None:
    """Raise UsageError where the port is taken: better now than after the compression."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError as error:
            raise UsageError(Reason.NAME_CONFLICT, f"--port {port}: {error.strerror}") from error


@contextmanager
def _own_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder that no other run uses."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / name
    try:
        with FileLock(parent / f".{name}.lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                folder.mkdir(PRIVATE_FOLDER)  # Secrets are in it
            except FileExistsError as error:  # a link, or somebody else's folder
                raise UsageError(
                    Reason.NAME_CONFLICT, f"{folder}: cannot be emptied; remove it, or give another --state"
                ) from error
            try:
                yield folder
            except BaseException:
                for volumes in folder.glob("*/volumes"):  # the logs stay, Secrets never do
                    shutil.rmtree(volumes)
                raise
            shutil.rmtree(folder)
    except Timeout as error:
        raise UsageError(
            Reason.NAME_CONFLICT, f"{name} already runs with the state folder {parent.parent}"
        ) from error


class _Run:
    """One run: the loop, and what it tells the user."""

    def __init__(self, options: RunOptions, display: Display, folder: Path) -> None:
        self._options = options
        self._display = display
        self._folder = folder
        self._wake = threading.Event()
        self._signal: int | None = None
        self._serving = False
        self._result: JobResult | None = None

    def serve(self, body: Body, secrets: dict[str, dict[str, bytes]]) -> int:
        hooks = Hooks(wake=self._wake.set, line=self._display.log, event=self._tell)
        cluster = LocalCluster(self._folder, secrets, hooks, self._options.port)
        previous = {
            number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            self._loop(cluster, cluster.create(body))
        finally:
            self._display.say("stopping")
            cluster.close(GRACE)
            for number, handler in previous.items():
                signal.signal(number, handler)
        assert self._signal is not None
        return 0 if self._serving else 128 + self._signal

    def _loop(self, cluster: LocalCluster, key: Key) -> None:
        store = (self._options.state / "artifacts").resolve().as_uri()
        settings = Settings("local", "local", "local", store, tries_again=False)
        while self._signal is None:
            self._wake.clear()
            cluster.step()
            pause = reconcile(cluster, key, settings)
            observed = cluster.observe(key)
            assert observed is not None
            self._note_result(observed.pods)
            self._judge(observed.resource, cluster.url(key))
            self._wake.wait(min(TICK, TICK if pause is None else pause))

    def _on_signal(self, number: int, frame: object) -> None:
        self._signal = number
        self._wake.set()

    def _tell(self, note: EventNote) -> None:
        self._display.say(f"{note.reason}: {cause(note.message)}")

    def _note_result(self, pods: tuple[Body, ...]) -> None:
        if self._result is None:
            self._result = next(filter(None, map(job_result, pods)), None)
            if self._result and self._result.reused:
                self._display.say("reused the artifact of an earlier run: nothing was compressed again")

    def _judge(self, resource: Body, url: str | None) -> None:
        """Say once that the model is ready; raise where it never will be."""
        ready = objects.is_true(resource, ConditionType.READY)
        if ready and not self._serving and url:
            self._serving = True
            self._display.end_bars()
            click.echo(printable(_summary(resource, url), keep="\n"))
        stalled = objects.condition(resource, ConditionType.STALLED) or {}
        if stalled.get("status") == "True" and not objects.dig(resource, "status", "current"):
            self._display.end_bars()
            if self._result and stalled["reason"] == Reason.EVALUATION_FAILED:
                reports.show_stored(self._options.state / "artifacts", self._result.artifact_digest)
            elif any(self._folder.glob("*/*.log")):
                self._display.say(f"logs are in {self._folder}")
            raise error_of(stalled["reason"], cause(stalled["message"]))


def _summary(resource: Body, url: str) -> str:
    """Return what is said when the model is ready; the first line has the URL."""
    name = objects.name_of(resource)
    status: Any = resource["status"]
    lines = [f"{name} is ready: {url}"]
    digest = objects.dig(status, "current", "artifactDigest")
    lines.append(f"  artifact  {digest}")
    sizes = status.get("compression")
    if sizes:
        before, after = sizes["originalBytes"], sizes["compressedBytes"]
        lines.append(f"  size      {before} -> {after} bytes, ratio {sizes['ratio']}")
    scores = status.get("evaluation")
    if scores:
        lines.append(f"  {scores['metric']}  {scores['original']} -> {scores['compressed']}")
    lines.append(f"  try       curl {url}/v2/models/{name}")
    return "\n".join(lines)
