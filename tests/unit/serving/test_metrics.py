import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from modelpress.serving.observability.metrics import Metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    body, _ = metrics.expose("")
    return {
        (sample.name, tuple(sample.labels[key] for key in sorted(sample.labels, reverse=True))): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


@given(st.lists(st.one_of(st.floats(0, 100), st.sampled_from([0.0001, 0.5, 30.0]))))
def test_buckets_are_those_of_the_client_library(values: list[float]) -> None:
    ours = Metrics()
    for value in values:
        ours.batch(1, value, value)
    found = {
        key: value for key, value in samples(ours).items() if key[0].startswith("modelpress_queue_seconds")
    }
    bounds = [float(key[1][0]) for key in found if key[0].endswith("_bucket")]
    registry = CollectorRegistry()
    theirs = Histogram("modelpress_queue_seconds", "x", buckets=bounds, registry=registry)
    for value in values:
        theirs.observe(value)
    for family in parse_text(generate_latest(registry).decode()):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert found[
                    sample.name, tuple(sample.labels[key] for key in sorted(sample.labels, reverse=True))
                ] == pytest.approx(sample.value)


def test_requests_are_counted_by_protocol_and_code() -> None:
    metrics = Metrics()
    for protocol, code, count in (("oip-rest", 200, 3), ("oip-rest", 400, 1), ("oip-grpc", 200, 2)):
        for _ in range(count):
            metrics.request(protocol, code, 0.002)
    found = samples(metrics)
    assert found["modelpress_requests_total", ("oip-rest", "200")] == 3
    assert found["modelpress_requests_total", ("oip-rest", "400")] == 1
    assert found["modelpress_request_seconds_count", ("oip-grpc", "200")] == 2
    assert found["modelpress_request_seconds_bucket", ("oip-rest", "0.001", "200")] == 0
    assert found["modelpress_request_seconds_bucket", ("oip-rest", "0.0025", "200")] == 3


def test_both_formats_can_be_read_also_before_the_first_request() -> None:
    metrics = Metrics()
    metrics.watch_requests(lambda: 0)
    for _ in range(2):
        body, content_type = metrics.expose(OPENMETRICS)
        assert content_type.startswith("application/openmetrics-text")
        names = {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
        assert {"modelpress_requests", "modelpress_batch_rows", "modelpress_in_flight"} <= names
        metrics.request("oip-rest", 200, 0.002)
