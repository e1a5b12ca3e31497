"""Lives in each of which the operator sees one event of a watch never, or twice."""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx

from tests.support.cluster.by_hand import running
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.helpers import Operator
from tests.support.cluster.life import Chapter, fresh_life, lived, up_to
from tests.support.cluster.proxy import ApiProxy, Tap
from tests.support.cluster.still_node import StillNode

_WITHOUT_FAULT = "all-events"  # a namespace


class WatchTap(Tap):
    """Knows an event by its kind and place, such as the second "pods ADDED" of a namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[str, list[str]] = {}  # of each namespace
        self._chosen: dict[str, tuple[str, int, int]] = {}
        self.met: set[str] = set()  # namespaces in which the chosen event came

    def choose(self, namespace: str, event: tuple[str, int], times: int) -> None:
        """Have an event of a namespace shown so many times."""
        self._chosen[namespace] = (*event, times)

    def shown(self, namespace: str) -> list[str]:
        """Return the events of a namespace so far."""
        return list(self._shown.get(namespace, ()))

    def events(self, plural: str, line: bytes) -> Iterable[bytes]:
        event = json.loads(line)
        if event.get("type") not in ("ADDED", "MODIFIED", "DELETED"):
            return (line,)
        namespace, word = event["object"]["metadata"]["namespace"], f"{plural} {event['type']}"
        with self._lock:
            shown = self._shown.setdefault(namespace, [])
            shown.append(word)
            place = shown.count(word)
        *chosen, times = self._chosen.get(namespace, ("", 0, 1))
        if chosen != [word, place]:
            return (line,)
        self.met.add(namespace)
        return (line,) * times


@dataclass(frozen=True)
class EventFaults:
    """One operator behind a proxy, and a life without a fault, by which the others are measured."""

    control_plane: ControlPlane
    operator: Operator
    tap: WatchTap
    chapters: list[Chapter]

    def ends_well(self, word: str, times: int, number: int) -> None:
        """Show an event so many times; all must become as it is without that."""
        life = fresh_life(self.control_plane, f"{word}-{number}")
        shown = self.tap.shown(_WITHOUT_FAULT)[:number]
        self.tap.choose(life.namespace, (shown[-1], shown.count(shown[-1])), times)
        chapters = up_to(self.chapters, number)
        for chapter in chapters:
            chapter.step(life)
            chapter.repeated(life)
        self._wait_rounds()
        chapters[-1].repeated(life)
        life.end()

    def number_of(self, event: str, chance: Random) -> int:
        """Return the number of some event such as "pods ADDED"."""
        shown = self.tap.shown(_WITHOUT_FAULT)
        return chance.choice([number for number, each in enumerate(shown, 1) if each == event])

    def _wait_rounds(self) -> None:
        """Wait until two comparisons with lists, begun from now on, are done."""
        until = self._rounds() + 3
        wait_until("two resyncs", lambda: self._rounds() >= until)

    def _rounds(self) -> int:
        url = f"http://127.0.0.1:{self.operator.liveness_port}/healthz"
        rounds: int = httpx.get(url, trust_env=False).raise_for_status().json()["resyncs"]
        return rounds


@contextmanager
def event_faults(control_plane: ControlPlane, kubeconfig: Path, folder: Path) -> Iterator[EventFaults]:
    """Run an operator of all namespaces, and live one life without a fault."""
    tap = WatchTap()
    with (
        StillNode(control_plane),
        ApiProxy(control_plane, folder, tap) as proxy,
        running(proxy.kubeconfig(kubeconfig), folder) as operator,
    ):
        life = fresh_life(control_plane, _WITHOUT_FAULT)
        chapters = lived(life, lambda: len(tap.shown(life.namespace)))
        yield EventFaults(control_plane, operator, tap, chapters)
