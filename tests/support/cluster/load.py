"""A load on the ready workers of a ModelDeployment, without retries: each lost request counts."""

import http.client
import json
import threading
import time
from collections import Counter, defaultdict
from typing import Self

import numpy as np

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.helpers import Deployed, is_ready, now
from tests.support.cluster.node import ADDRESS_ANNOTATION

_CLIENTS = 4
_PAUSE_SECONDS = 0.002  # leaves the processor to the pods
_LOOK_SECONDS = 0.1  # as late as a proxy hears of ready pods
_TIMEOUT_SECONDS = 30


class Load:
    """Asks the ready workers in turn over kept connections, from `with` until its end."""

    def __init__(self, deployed: Deployed, row: np.ndarray, clients: int = _CLIENTS) -> None:
        """`row` is one row of the model's only input, of shape (features,)."""
        self._deployed = deployed
        self._row = row
        self._addresses: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._look, daemon=True)]
        self._threads += [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(clients)]
        self.answers: Counter[str] = Counter()  # by the revision that gave them
        self.outputs: defaultdict[str, set[str]] = defaultdict(set)  # all different ones of a revision
        self.lost: list[str] = []
        self.gap_seconds = 0.0  # during which no worker was ready
        self.most_pods = 0  # that were not on their way out

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            selector = names.selector_text(names.worker_selector(self._deployed.name))
            workers = self._deployed.api.list("pods", self._deployed.namespace, selector)
            staying = sum("deletionTimestamp" not in pod["metadata"] for pod in workers)
            self.most_pods = max(self.most_pods, staying)
            ready = filter(is_ready, workers)
            self._addresses = tuple(pod["metadata"]["annotations"][ADDRESS_ANNOTATION] for pod in ready)
            self._stop.wait(_LOOK_SECONDS)
            if not self._addresses:
                self.gap_seconds += time.monotonic() - began

    def _ask(self, turn: int) -> None:
        callers: dict[str, _Caller] = {}
        while not self._stop.wait(_PAUSE_SECONDS):
            addresses = self._addresses
            if not addresses:
                continue
            for address in callers.keys() - set(addresses):
                callers.pop(address).close()
            turn += 1
            address = addresses[turn % len(addresses)]
            try:
                if address not in callers:
                    callers[address] = _Caller(address, self._deployed.name)
                self._note(callers[address].infer(self._row))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.lost.append(f"{now()} {address}: {error!r}")
                if address in callers:
                    callers.pop(address).close()
        for caller in callers.values():
            caller.close()

    def _note(self, answer: Json) -> None:
        revision = answer["model_version"]
        with self._lock:
            self.answers[revision] += 1
            self.outputs[revision].add(json.dumps(answer["outputs"]))


class _Caller:
    """A kept connection to one worker."""

    def __init__(self, address: str, model: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_SECONDS)
        self._path = f"/v2/models/{model}"
        (self._input,) = self._exchange("GET", self._path)["inputs"]

    def infer(self, row: np.ndarray) -> Json:
        """Send one row, of shape (features,); return the answer. Raises ValueError where it is none."""
        tensor = {"name": self._input["name"], "datatype": "FP32", "shape": [1, len(row)]}
        body = json.dumps({"inputs": [{**tensor, "data": row.tolist()}]})
        return self._exchange("POST", f"{self._path}/infer", body)

    def close(self) -> None:
        self._connection.close()

    def _exchange(self, method: str, path: str, body: str | None = None) -> Json:
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise ValueError(f"{response.status} {content[:200]!r}")
        answer: Json = json.loads(content)
        return answer
