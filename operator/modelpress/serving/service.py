"""The worker as every protocol sees it: one model behind one queue, its phase, and what is in flight.

HTTP, gRPC and whatever comes later share one Service: it counts their requests and says whether the worker
is ready, so that draining waits for all of them. Used from the event loop only.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

from modelpress.api.spec import Serving
from modelpress.serving.batching.queue import Batcher
from modelpress.serving.observability.access_log import OBSERVED, AccessLog, ClientInfo
from modelpress.serving.observability.metrics import Metrics
from modelpress.serving.protocols.base import Model


class Phase(Enum):
    """Life of a worker; it is ready in one of them."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class Service:
    """State of one worker."""

    def __init__(self, name: str, metrics: Metrics, serving: Serving = Serving()) -> None:  # noqa: B008
        self.name = name
        self.metrics = metrics
        self.serving = serving  # the limits of the spec
        self.phase = Phase.LOADING
        self.in_flight = 0
        self.model: Model | None = None
        self.batcher: Batcher | None = None
        self.access_log: AccessLog | None = None  # None where it is off
        self.decoder = ThreadPoolExecutor(1, "decoder")  # decodes long bodies, one at a time
        metrics.watch_requests(lambda: self.in_flight)

    @property
    def ready(self) -> bool:
        """Whether callers should send requests here."""
        return self.phase is Phase.READY

    def serve(self, model: Model, batcher: Batcher) -> None:
        """Take requests for `model` from now on; the worker is ready."""
        self.model, self.batcher = model, batcher
        self.metrics.watch_model(model, lambda: batcher.waiting_rows)
        if self.phase is Phase.LOADING:
            self.phase = Phase.READY

    def client_info(
        self, method: str | None, path: str | None, client: str | None, headers: Mapping[bytes, bytes]
    ) -> ClientInfo | None:
        """Return what is known of a client, None where there is no log and no trace or id came along."""
        if self.access_log is None and OBSERVED.isdisjoint(headers):
            return None
        return ClientInfo.of(method, path, client, headers)

    def refuse(self, code: int, begun: float, caller: ClientInfo | None) -> None:
        """Note an error in answer to what is no inference request; answers of pages are not counted."""
        self.metrics.request("http", code, time.perf_counter() - begun)
        if caller is not None:
            self.log(caller, None, code, begun)

    def begin(self) -> float:
        """Note that an inference request arrived; returns when, for `end`."""
        self.in_flight += 1
        return time.perf_counter()

    def end(self, protocol: str, code: int, begun: float, caller: ClientInfo | None = None) -> None:
        """Note that it was answered with `code`."""
        self.in_flight -= 1
        self.count(protocol, code, begun, caller)

    def count(self, protocol: str, code: int, begun: float, caller: ClientInfo | None) -> None:
        """Note an answer of a protocol in the metrics and the log."""
        self.metrics.request(protocol, code, time.perf_counter() - begun)
        if caller is not None:
            self.log(caller, protocol, code, begun)

    def log(self, caller: ClientInfo, protocol: str | None, code: int, begun: float) -> None:
        """Write the access log's line on an answer; `begun` as time.perf_counter() gives it."""
        if self.access_log is not None:
            self.access_log.write(caller, protocol, code, time.perf_counter() - begun)
