"""Prometheus metrics of a worker. One registry for each worker: nothing global."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

from modelpress.serving.protocols.base import Model

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The worker's metrics; a batcher's observer."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        registry = self._registry
        self._requests = Counter(
            "modelpress_requests", "Requests answered.", ["protocol", "code"], registry=registry
        )
        self._latency = Histogram(
            "modelpress_request_seconds",
            "From the head of a request to its answer.",
            ["protocol", "code"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._rows = Histogram("modelpress_batch_rows", "Rows of a batch.", buckets=_ROWS, registry=registry)
        self._queue = Histogram(
            "modelpress_queue_seconds",
            "Time that the oldest request of a batch waited.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._compute = Histogram(
            "modelpress_compute_seconds", "Time to compute a batch.", buckets=_SECONDS, registry=registry
        )
        self._in_flight = Gauge("modelpress_in_flight", "Requests being answered.", registry=registry)
        self._queued = Gauge("modelpress_queue_rows", "Rows that wait for a batch.", registry=registry)
        self._model = Info("modelpress_model", "The served model.", registry=registry)
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def request(self, protocol: str, code: int, seconds: float) -> None:
        """Note an answered request."""
        children = self._children.get((protocol, code))
        if children is None:
            labels = (protocol, str(code))
            children = (self._requests.labels(*labels), self._latency.labels(*labels))
            self._children[protocol, code] = children
        children[0].inc()
        children[1].observe(seconds)

    def batch(self, size: int, queue_seconds: float, compute_seconds: float) -> None:
        """Note a computed batch."""
        self._rows.observe(size)
        self._queue.observe(queue_seconds)
        self._compute.observe(compute_seconds)

    def watch_requests(self, in_flight: Callable[[], float]) -> None:
        """Read the number of requests in flight when scraped."""
        self._in_flight.set_function(in_flight)

    def watch_model(self, model: Model, waiting_rows: Callable[[], float]) -> None:
        """Say which model is served, and read the queue's length when scraped."""
        self._model.info({"name": model.name, "revision": model.revision, "digest": model.digest})
        self._queued.set_function(waiting_rows)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return the text of /metrics and its content type, in the format that `accept` asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
