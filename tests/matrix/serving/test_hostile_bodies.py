"""Bodies that are small for the network and large for whoever makes objects of them, at maxRequestBytes."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.serving.artifacts import Worker, worker

MAX_BYTES = 2**24
PREDICT, INFER = "/v1/models/digits:predict", "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def large(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("large")
    with worker(artifacts / "seed-int8", folder, max_request_bytes=MAX_BYTES) as running:
        yield running


def filled(unit: bytes, before: bytes = b'{"instances":[', after: bytes = b"0]}") -> bytes:
    return before + unit * ((MAX_BYTES - len(before) - len(after)) // len(unit)) + after


FORMS: dict[str, bytes] = {
    "lists": filled(b"[],"),
    "lists and blanks": filled(b"[ ],"),
    "objects": filled(b"{},"),
    "strings": filled(b'"",'),
    "small integers": filled(b"1,"),
    "fractions": filled(b".5,").replace(b".5", b"0.5", 1),
    "words": filled(b"true,"),
    "nothing": filled(b"null,"),
    "no numbers": filled(b"NaN,"),
    "long lists": filled(b"[1,1,1,1],"),
    "lists of single values": filled(b"[1],"),
    "named rows": filled(b'{"a":1},'),
    "keys": filled(b'"a":1,', b'{"instances":{', b'"b":1}}'),
    "one string": filled(b"a", b'{"instances":["', b'"]}'),
    "one string of wide characters": filled(b"a", '{"instances":["\U0001f600'.encode(), b'"]}'),
    "one number": filled(b"1", b'{"instances":[', b"]}"),
    "blanks": filled(b" ", b'{"instances":[', b"]}"),
    "no JSON at all": filled(b"["),
}


def peak_bytes(running: Worker) -> int:
    text = Path(f"/proc/{running.process.pid}/status").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak(running: Worker) -> int:
    """Begin to measure anew; returns the memory that is used now."""
    Path(f"/proc/{running.process.pid}/clear_refs").write_text("5")
    return peak_bytes(running)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("form", FORMS)
def test_they_are_refused_within_three_times_their_size(
    large: Worker, form: str, path: str, packed: bool
) -> None:
    body = FORMS[form] if path == PREDICT else FORMS[form].replace(b'"instances"', b'"inputs"', 1)[:MAX_BYTES]
    headers = {"content-encoding": "gzip"} if packed else {}
    content = gzip.compress(body, 1) if packed else body
    before = reset_peak(large)
    longest, stop = 0.0, threading.Event()

    def probe() -> None:
        nonlocal longest
        with httpx.Client(base_url=large.url, timeout=60) as client:
            while not stop.is_set():
                begun = time.monotonic()
                assert client.get("/v2/health/live").status_code == 200
                longest = max(longest, time.monotonic() - begun)
                time.sleep(0.01)

    beside = threading.Thread(target=probe)
    beside.start()
    try:
        answer = large.client.post(path, content=content, headers=headers)
    finally:
        stop.set()
        beside.join()
    assert answer.status_code in (400, 413), answer.text
    assert peak_bytes(large) - before < 3 * len(body)
    print(f"{form}: {(peak_bytes(large) - before) / len(body):.1f} times, health within {longest:.3f} s")


def test_an_honest_request_of_the_same_size_is_answered(large: Worker) -> None:
    rows = np.random.default_rng(1).random((8192, 64)).round(6)
    for path, body in (
        (PREDICT, {"instances": rows.tolist()}),
        (
            INFER,
            {"inputs": [{"name": "images", "shape": rows.shape, "datatype": "FP32", "data": rows.tolist()}]},
        ),
    ):
        text = json.dumps(body).encode()
        assert len(text) > 4_000_000
        answer = large.client.post(path, content=text)
        assert answer.status_code == 200, answer.text
