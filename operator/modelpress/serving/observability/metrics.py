"""Prometheus metrics of a worker. One registry for each worker: nothing global.

All of it happens in one thread, the event loop's, so counts are plain integers: a request costs half a
microsecond, where the client library's counter and histogram with their locks cost four.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from modelpress.serving.protocols.base import Model

_SECONDS = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_REQUEST_SECONDS = _SECONDS[3:]
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Counts:
    """How many values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; a bound belongs to the bucket below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add what was counted to a family, as Prometheus wants it: each bucket holds the smaller ones."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self._sum)

    def total(self) -> int:
        """Return how many values were counted."""
        return sum(self._counts)


class Metrics(Collector):
    """The worker's metrics; a batcher's observer. Used from the event loop only."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._in_flight = Gauge("modelpress_in_flight", "Requests being answered.", registry=self._registry)
        self._queued = Gauge("modelpress_queue_rows", "Rows that wait for a batch.", registry=self._registry)
        self._model = Info("modelpress_model", "The served model.", registry=self._registry)
        self._requests: dict[tuple[str, int], Counts] = {}
        self._rows = Counts(_ROWS)
        self._queue = Counts(_SECONDS)
        self._compute = Counts(_SECONDS)
        self._registry.register(self)

    def request(self, protocol: str, code: int, seconds: float) -> None:
        """Note an answered request."""
        counts = self._requests.get((protocol, code))
        if counts is None:
            counts = self._requests[protocol, code] = Counts(_REQUEST_SECONDS)
        counts.observe(seconds)

    def batch(self, size: int, queue_seconds: float, compute_seconds: float) -> None:
        """Note a computed batch."""
        self._rows.observe(size)
        self._queue.observe(queue_seconds)
        self._compute.observe(compute_seconds)

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, for the registry."""
        labels = ["protocol", "code"]
        requests = CounterMetricFamily("modelpress_requests", "Requests answered.", labels=labels)
        latency = HistogramMetricFamily(
            "modelpress_request_seconds", "From the head of a request to its answer.", labels=labels
        )
        for (protocol, code), counts in self._requests.items():
            requests.add_metric([protocol, str(code)], counts.total())
            counts.add_to(latency, [protocol, str(code)])
        yield requests
        yield latency
        for name, text, counts in (
            ("batch_rows", "Rows of a batch.", self._rows),
            ("queue_seconds", "Time that the oldest request of a batch waited.", self._queue),
            ("compute_seconds", "Time to compute a batch.", self._compute),
        ):
            family = HistogramMetricFamily(f"modelpress_{name}", text)
            counts.add_to(family, [])
            yield family

    def watch_requests(self, in_flight: Callable[[], float]) -> None:
        """Read the number of requests in flight when scraped."""
        self._in_flight.set_function(in_flight)

    def watch_model(self, model: Model, waiting_rows: Callable[[], float]) -> None:
        """Say which model is served, and read the queue's length when scraped."""
        self._model.info({"name": model.name, "revision": model.revision, "digest": model.digest})
        self._queued.set_function(waiting_rows)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return the text of /metrics and its content type, in the format that `accept` asks for.

        Where that cannot be read, it is the plain one.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except Exception:  # the library's parser raises whatever it stumbles over
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type
