"""An API server that goes away in the middle of the lives of many ModelDeployments, and comes back."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.support.cluster.by_hand import running
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.helpers import Operator, is_answered
from tests.support.cluster.life import (
    CHILDREN,
    STEPS,
    UPDATE,
    Chapter,
    Life,
    Steps,
    fresh_life,
    lived,
    repeated_jobs,
)
from tests.support.cluster.still_node import StillNode

_SILENT_SECONDS = 40  # a request that hangs has ended by then
_DEAD_SECONDS = 320  # without a list for so long the process counts as dead


@dataclass(frozen=True)
class Outages:
    """An operator, and a life without a fault, by which the others are measured."""

    control_plane: ControlPlane
    operator: Operator
    chapters: list[Chapter]

    def survives(self, seconds: float, size: int, *, frozen: bool) -> None:
        """Take the API server away from rollouts and Jobs that have just begun; all must go on after that."""
        prefix = f"outage-{uuid4().hex[:4]}-"
        lives = [fresh_life(self.control_plane, f"{prefix}{number}") for number in range(size)]
        served, begun = lives[::2], lives[1::2]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(Life.create, served))
            before = {life.namespace: uids(life) for life in served}
            list(threads.map(_edit, served))
            list(threads.map(Life.apply, begun))
            with self.control_plane.without_api_server(frozen=frozen):
                self._tells(seconds, frozen=frozen)
            create, update, *later = self.chapters
            _all(threads, (create,), begun)
            _all(threads, (update,), lives)
            for life in served:
                assert before[life.namespace] <= uids(life), f"{life.namespace}: made anew"
            _all(threads, later, lives)
        assert repeated_jobs(self.control_plane, prefix) == []
        assert self.operator.running
        wait_until("ready", lambda: is_answered(self.operator, "readyz"))
        assert is_answered(self.operator, "healthz")
        for life in lives:
            life.end()

    def _tells(self, seconds: float, *, frozen: bool) -> None:
        """Wait so long; the probes must tell of it, and the process must live on."""
        until = time.monotonic() + seconds
        if not frozen or seconds > _SILENT_SECONDS:
            wait_until("not ready", lambda: not is_answered(self.operator, "readyz"))
        if seconds < _DEAD_SECONDS:
            time.sleep(max(0, until - time.monotonic()))
            assert is_answered(self.operator, "healthz"), "a restart would help nobody"
        else:
            wait_until("dead", lambda: not is_answered(self.operator, "healthz"), seconds, every=1)
            time.sleep(max(0, until - time.monotonic()))
        assert self.operator.running


@contextmanager
def outages(
    control_plane: ControlPlane, kubeconfig: Path, folder: Path, steps: Steps = STEPS
) -> Iterator[Outages]:
    """Run an operator of all namespaces, and live the first steps of a life without a fault."""
    with StillNode(control_plane), running(kubeconfig, folder) as operator:
        chapters = lived(fresh_life(control_plane, "no-outage"), lambda: 0, steps)
        yield Outages(control_plane, operator, chapters)


def uids(life: Life) -> set[str]:
    """Return the UIDs of all children."""
    return {body["metadata"]["uid"] for plural in CHILDREN for body in life.digits.children(plural)}


def _edit(life: Life) -> None:
    life.digits.patch(UPDATE)


def _all(
    threads: ThreadPoolExecutor, chapters: tuple[Chapter, ...] | list[Chapter], lives: list[Life]
) -> None:
    def live(life: Life) -> None:
        for chapter in chapters:
            chapter.step(life)
            chapter.repeated(life)

    list(threads.map(live, lives))
