"""Two operators of different releases that both act on everything."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster.by_hand import ARGUMENTS
from tests.support.cluster.controlplane import ControlPlane, Request, tally, wait_until
from tests.support.cluster.earlier_release import earlier
from tests.support.cluster.environment import OPERATOR_USER
from tests.support.cluster.helpers import Operator, is_answered, now
from tests.support.cluster.life import Life, fresh_life, repeated_jobs
from tests.support.cluster.still_node import StillNode

_REVISION = "deployment.kubernetes.io/revision"  # counts the changes of the template, also those back


@dataclass(frozen=True)
class TwoReleases:
    """A control plane with both of them."""

    control_plane: ControlPlane

    def agree(self, namespace: str, seconds: float) -> None:
        """Create and edit beside both: one template for each edit, and no fight that lasts so long."""
        until = time.monotonic() + seconds
        life = fresh_life(self.control_plane, namespace)
        for templates, step in ((1, Life.create), (2, Life.update), (3, Life.replace_model), (3, Life.scale)):
            step(life)
            assert self._templates(life) == templates, f"{step.__name__}: {self._templates(life)} templates"
        rest = wait_until("an end of the writes", lambda: self._quiet(life))
        time.sleep(max(0.0, until - time.monotonic()))
        assert self._writes(life, rest) == [], "a fight that goes on"
        assert life.digits.kstatus() == "Current"
        assert self._templates(life) == 3
        assert len(life.digits.children("jobs")) == 2
        assert repeated_jobs(self.control_plane, namespace) == []
        print(f"two releases for {seconds:g} s, three templates: {tally(self._writes(life, ''))}")

    def _writes(self, life: Life, since: str) -> list[Request]:
        """Return the writes of both."""
        return life.digits.writes_since(since, OPERATOR_USER)

    def _quiet(self, life: Life) -> str | None:
        """Return a time after which nothing was written for two seconds."""
        began = now()
        time.sleep(2)
        return None if self._writes(life, began) else began

    def _templates(self, life: Life) -> int:
        (deployment,) = life.digits.children("deployments")
        return int(deployment["metadata"]["annotations"][_REVISION])


@contextmanager
def two_releases(control_plane: ControlPlane, kubeconfig: Path, folder: Path) -> Iterator[TwoReleases]:
    """Run an earlier operator, with images of its own, and the present one."""
    of_earlier = [argument.replace(":1", ":0") for argument in ARGUMENTS]
    (folder / "earlier").mkdir()
    (folder / "present").mkdir()
    first = Operator(kubeconfig, OPERATOR_USER, of_earlier, folder / "earlier", earlier().python)
    second = Operator(kubeconfig, OPERATOR_USER, ARGUMENTS, folder / "present")
    with StillNode(control_plane), ExitStack() as stack:
        for operator, page in ((first, "healthz"), (second, "readyz")):
            operator.start()
            stack.callback(operator.stop)
            wait_until(page, lambda: is_answered(operator, page))  # noqa: B023 - called at once
        yield TwoReleases(control_plane)
