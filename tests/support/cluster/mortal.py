"""An operator that dies at its writes, and is started anew as a kubelet would."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support.cluster.by_hand import ARGUMENTS
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.environment import OPERATOR_USER
from tests.support.cluster.helpers import Operator, is_answered
from tests.support.cluster.proxy import ApiProxy, Call, Moment, Tap


class Reaper(Tap):
    """Counts the writes that come, and calls `kill` at a moment of those that are due."""

    def __init__(self, due: Callable[[int], bool], moment: Moment) -> None:
        """`due` is asked with the number of a write, from 1 on."""
        self._due = due
        self._moment = moment
        self.kill: Callable[[], None] = lambda: None
        self.writes = 0
        self.closed = False  # nothing passes while the operator is dead: what it sent last may still come

    def passes(self, call: Call, moment: Moment) -> bool:
        if self.closed:
            return False
        if call.writes and call.plural != "leases":
            self.writes += moment is Moment.BEFORE
            takes = moment is Moment.BEFORE or call.code < 300  # what is refused changes nothing
            if takes and moment is self._moment and self._due(self.writes):
                self.closed = True
                self.kill()
                return False
        return True


class Mortal:
    """The operator of one namespace."""

    def __init__(self, operator: Operator, reaper: Reaper) -> None:
        self._operator = operator
        self._reaper = reaper
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._start_anew, name="kubelet", daemon=True)
        self.deaths = 0
        reaper.kill = lambda: operator.signal(signal.SIGKILL)

    @property
    def writes(self) -> int:
        """How many writes it has sent so far."""
        return self._reaper.writes

    def __enter__(self) -> Self:
        self._operator.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._operator.kill()

    def die(self) -> None:
        """End it now."""
        self._reaper.closed = True
        self._operator.signal(signal.SIGKILL)

    def wait_ready(self) -> None:
        """Wait until it works again."""
        wait_until("ready", lambda: not self._reaper.closed and is_answered(self._operator, "readyz"))

    def _start_anew(self) -> None:
        while not self._stopped.wait(0.02):
            if self._operator.exit_code is not None:
                assert self._reaper.closed, f"it ended by itself: {self._operator.folder}"
                self.deaths += 1
                self._reaper.closed = False
                self._operator.start()


@contextmanager
def mortal(control_plane: ControlPlane, kubeconfig: Path, folder: Path, reaper: Reaper) -> Iterator[Mortal]:
    """Run an operator of the namespace that the folder is named after."""
    folder.mkdir()
    with ApiProxy(control_plane, folder, reaper) as proxy:
        arguments = [*ARGUMENTS, f"--namespace={folder.name}"]
        operator = Operator(proxy.kubeconfig(kubeconfig), OPERATOR_USER, arguments, folder)
        with Mortal(operator, reaper) as running:
            yield running
