"""gzip, deflate and the binary tensor extension over real sockets."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.serving.artifacts import Worker

INFER = "/v2/models/digits/infer"
ENCODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


def images(rows: int) -> Any:
    return np.random.default_rng(rows).random((rows, 64), dtype="float32")


def binary_request(array: Any) -> tuple[bytes, dict[str, str]]:
    entry = {
        "name": "images",
        "datatype": "FP32",
        "shape": list(array.shape),
        "parameters": {"binary_data_size": array.nbytes},
    }
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    return head + array.tobytes(), {"inference-header-content-length": str(len(head))}


def probabilities(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert len(answer.content) == length + output["parameters"]["binary_data_size"]
    return np.frombuffer(answer.content[length:], "float32").reshape(output["shape"])


@pytest.mark.parametrize("rows", [1, 200])  # above 32,768 bytes bodies arrive in pieces
def test_raw_tensors_go_both_ways(digits: Worker, reference: LiteRTExecutor, rows: int) -> None:
    body, headers = binary_request(images(rows))
    answer = digits.client.post(INFER, content=body, headers=headers)
    assert probabilities(answer).tobytes() == reference.run([images(rows)])[0].tobytes()


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("rows", [1, 300])  # in the loop, and beside it
def test_compressed_requests_and_answers(
    digits: Worker, reference: LiteRTExecutor, encoding: str, rows: int
) -> None:
    expected = reference.run([images(rows)])[0]
    both = {"content-encoding": encoding, "accept-encoding": encoding}
    body, headers = binary_request(images(rows))
    answer = digits.client.post(INFER, content=ENCODERS[encoding](body), headers=headers | both)
    assert probabilities(answer).tobytes() == expected.tobytes()
    assert answer.headers.get("content-encoding") == (encoding if rows > 1 else None)
    predict = json.dumps({"instances": images(rows).tolist()}).encode()
    answer = digits.client.post(
        "/v1/models/digits:predict", content=ENCODERS[encoding](predict), headers=both
    )
    assert np.array(answer.json()["predictions"], "float32").tobytes() == expected.tobytes()
    assert answer.headers.get("content-encoding") == (encoding if rows > 1 else None)
    assert int(answer.headers["content-length"]) < 300_000


def test_a_body_that_is_compressed_and_chunked(digits: Worker, reference: LiteRTExecutor) -> None:
    body, headers = binary_request(images(300))
    packed = gzip.compress(body)

    def pieces() -> Any:
        for start in range(0, len(packed), 1000):
            yield packed[start : start + 1000]

    answer = digits.client.post(INFER, content=pieces(), headers=headers | {"content-encoding": "gzip"})
    assert probabilities(answer).tobytes() == reference.run([images(300)])[0].tobytes()


def test_a_gzip_body_of_several_members(digits: Worker, reference: LiteRTExecutor) -> None:
    body, headers = binary_request(images(300))
    packed = b"".join(gzip.compress(body[start : start + 10_000]) for start in range(0, len(body), 10_000))
    answer = digits.client.post(INFER, content=packed, headers=headers | {"content-encoding": "gzip"})
    assert probabilities(answer).tobytes() == reference.run([images(300)])[0].tobytes()


@pytest.mark.parametrize(
    "lines",
    [
        ("gzip", "gzip"),
        ("gzip", "identity"),
        ("identity", "gzip"),
        ("identity", "identity"),
        ("br", "gzip"),
        ("deflate", "gzip", "gzip"),
    ],
)
def test_lines_of_a_header_are_as_one_line(digits: Worker, lines: tuple[str, ...]) -> None:
    body, headers = binary_request(images(1))
    forms = [[("content-encoding", line) for line in lines], [("content-encoding", ", ".join(lines))]]
    several, one = (
        digits.client.post(INFER, content=gzip.compress(body), headers=[*headers.items(), *form])
        for form in forms
    )
    assert several.status_code == 415
    assert several.json() == {
        "error": f"content-encoding is {', '.join(lines)!r}; accepted are gzip, deflate and identity"
    }
    assert (one.status_code, one.json()) == (several.status_code, several.json())


def test_a_client_that_asks_for_nothing_gets_a_plain_answer(digits: Worker) -> None:
    body = json.dumps({"instances": images(300).tolist()}).encode()
    for accept in ("identity", "", "gzip;q=0"):
        answer = digits.client.post(
            "/v1/models/digits:predict", content=body, headers={"accept-encoding": accept}
        )
        assert "content-encoding" not in answer.headers
        assert len(answer.content) == int(answer.headers["content-length"]) > 4096


def test_pages_are_compressed_too(digits: Worker) -> None:
    answer = digits.client.get("/metrics", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    assert "modelpress_in_flight" in answer.text
