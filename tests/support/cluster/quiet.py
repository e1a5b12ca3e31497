"""An operator whose writes and resyncs are counted all the time, and which may be killed at any time.

So a test can wait until many resyncs in a row have written nothing, however often the process is replaced.
"""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path

import httpx
import yaml

from tests.support.cluster.api import Json
from tests.support.cluster.controlplane import WRITES, wait_until
from tests.support.cluster.helpers import Deployed, Operator

_PATIENCE = 600.0  # seconds: ends a hang, judges no speed
_APART = 10  # resyncs between two restarts


class CountedOperator:
    """Counts in threads of its own, from the audit log and from /healthz."""

    def __init__(self, operator: Operator, audit_log: Path) -> None:
        self._operator = operator
        self._restarting = threading.Lock()
        self._restarted = 0  # `resyncs` at that time
        self.restarts = 0
        self.resyncs = 0  # of all processes together
        self.wrote_at: dict[str, int] = {}  # namespace -> `resyncs` when the operator last wrote there
        self.last_writes: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=12))
        self._log = audit_log.open()
        self._log.seek(0, 2)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._read, self._poll)]

    def __enter__(self) -> "CountedOperator":
        self._operator.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._operator.stop()
        self._log.close()

    def restart(self) -> None:
        """Kill it and start it again, unless that was just done for somebody else."""
        with self._restarting:
            if self.resyncs - self._restarted >= _APART:
                self._operator.kill()
                self._operator.start()
                self._restarted = self.resyncs
                self.restarts += 1

    def settle(self, namespace: str, resources: Iterable[Deployed], resyncs: int) -> None:
        """Wait until so many resyncs in a row wrote nothing in a namespace, and nothing is being changed."""
        since, resources = self.resyncs, tuple(resources)

        def is_calm() -> bool:
            return self._quiet_for(namespace, since) >= resyncs and all(map(_is_at_rest, resources))

        try:
            wait_until("calm", is_calm, _PATIENCE)
        except AssertionError as error:
            states = [yaml.safe_dump(each.read().get("status")) for each in resources]
            writes = self.last_writes[namespace]
            raise AssertionError("\n".join([str(error), *states, "last writes:", *writes])) from None

    def _quiet_for(self, namespace: str, since: int) -> int:
        """Return how many resyncs the operator last wrote nothing in a namespace, `since` at most."""
        return self.resyncs - max(self.wrote_at.get(namespace, 0), since)

    def _read(self) -> None:
        mine = f'"{self._operator.user}"'
        part = ""
        while not self._stopping.wait(0.1):
            for line in self._log:
                part += line
                if part.endswith("\n"):
                    if mine in part:
                        self._note(json.loads(part))
                    part = ""

    def _note(self, entry: Json) -> None:
        target = entry.get("objectRef", {})
        namespace, verb = target.get("namespace"), str(entry["verb"])
        if namespace and verb in WRITES and entry["user"]["username"] == self._operator.user:
            self.wrote_at[namespace] = self.resyncs
            told = [target.get(key) for key in ("resource", "subresource", "name")]
            code = entry.get("responseStatus", {}).get("code")
            when = entry["requestReceivedTimestamp"]
            self.last_writes[namespace].append(" ".join(map(str, (when, verb, *told, code))))

    def _poll(self) -> None:
        """Count the resyncs; those of a new process begin at 0."""
        before = 0
        with httpx.Client(trust_env=False, timeout=5) as http:
            while not self._stopping.wait(0.2):
                try:
                    url = f"http://127.0.0.1:{self._operator.liveness_port}/healthz"
                    count = int(http.get(url).json()["resyncs"])
                except (httpx.HTTPError, ValueError, KeyError):
                    continue
                self.resyncs += count - before if count >= before else count
                before = count


def _is_at_rest(digits: Deployed) -> bool:
    body = digits.read()
    status = body.get("status", {})
    working = [each for each in status.get("conditions", ()) if each["type"] == "Reconciling"]
    is_seen = status.get("observedGeneration") == body["metadata"]["generation"]
    return is_seen and all(each["status"] == "False" for each in working)
