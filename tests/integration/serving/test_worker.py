"""A real worker process over real sockets."""

import gzip
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.serving.artifacts import Worker, examples, failure, start, worker
from tests.support.serving.oip_requests import images, output, request, tensor


def test_both_protocols_answer_what_the_bare_interpreter_computes(
    digits: Worker, reference: LiteRTExecutor
) -> None:
    for rows in (1, 7, 32, 65):
        array = images(rows)
        expected = reference.run([array])[0]
        assert output(digits.infer(request(array))).tobytes() == expected.tobytes()
        for body, key in (
            ({"instances": array.tolist()}, "predictions"),
            ({"inputs": array.tolist()}, "outputs"),
        ):
            answer = digits.predict(body)
            assert answer.status_code == 200
            assert np.array(answer.json()[key], "float32").tobytes() == expected.tobytes()


def test_pages_and_versions(digits: Worker) -> None:
    for path in (
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/digits",
        "/v2/models/digits/ready",
        "/v2/models/digits/versions/digits-1",
        "/v2/models/digits/versions/digits-1/ready",
        "/v1/models/digits",
        "/v1/models/digits/versions/1",
        "/v1/models/digits/metadata",
        "/metrics",
    ):
        assert digits.client.get(path).status_code == 200, path
    for path in ("/v2/models/digits/versions/digits-1/infer", "/v1/models/digits/versions/1:predict"):
        body = request(images(1)) if "v2" in path else {"instances": images(1).tolist()}
        assert digits.client.post(path, json=body).status_code == 200


BAD: list[tuple[str, str, bytes, dict[str, str], int, str]] = [
    ("POST", "/v2/models/digits/infer", b"not json", {}, 400, "the body is not valid JSON"),
    ("POST", "/v2/models/digits/infer", b"", {}, 400, "the body is not valid JSON"),
    ("POST", "/v2/models/digits/infer", b"\xff\xfe", {}, 400, "the body is not valid JSON"),
    ("POST", "/v2/models/digits/infer", b"[" * 50_000, {}, 400, "nested deeper than 1024 levels"),
    ("POST", "/v1/models/digits:predict", b'{"a":' * 2000 + b"1" + b"}" * 2000, {}, 400, "nested deeper"),
    (
        "POST",
        "/v2/models/digits/infer",
        json.dumps(request(images(1)[:, :63])).encode(),
        {},
        400,
        "does not fit",
    ),
    ("POST", "/v1/models/digits:predict", b'{"instances": [[1, 2]]}', {}, 400, "does not fit"),
    ("POST", "/v1/models/digits:predict", b'{"instances": [[NaN,]]}', {}, 400, "the body is not valid JSON"),
    ("POST", "/v2/models/other/infer", b"{}", {}, 404, "no model 'other'; this worker serves 'digits'"),
    ("POST", "/v1/models/other:predict", b"{}", {}, 404, "no model 'other'; this worker serves 'digits'"),
    ("GET", "/v2/models/digits/versions/9", b"", {}, 404, "no version '9' of 'digits'"),
    ("GET", "/", b"", {}, 404, "no such path: '/'"),
    ("GET", "/v2/models/digits/infer", b"", {}, 405, "takes POST, not 'GET'"),
    ("DELETE", "/v2", b"", {}, 405, "takes GET, HEAD, not 'DELETE'"),
    (
        "POST",
        "/v2/models/digits/infer",
        b"x" * (2**20 + 1),
        {},
        413,
        "larger than maxRequestBytes, which is 1048576",
    ),
    ("POST", "/v2/models/digits/infer", b"\x1f\x8b", {"content-encoding": "gzip"}, 400, "not valid gzip"),
    (
        "POST",
        "/v2/models/digits/infer",
        b"\x1f\x8b",
        {"content-encoding": "br"},
        415,
        "content-encoding is 'br'",
    ),
    (
        "POST",
        "/v2/models/digits/infer",
        gzip.compress(bytes(2**24)),
        {"content-encoding": "gzip"},
        413,
        "the decompressed body is larger than maxRequestBytes, which is 1048576",
    ),
    (
        "POST",
        "/v2/models/digits/infer",
        b"{}",
        {"inference-header-content-length": "3"},
        400,
        "Inference-Header-Content-Length is 3, but the body has 2 bytes",
    ),
    (
        "POST",
        "/v2/models/digits/infer",
        b"{}",
        {"inference-header-content-length": "-1"},
        400,
        "Inference-Header-Content-Length must be an integer of 0 or more",
    ),
    (
        "POST",
        "/v1/models/digits:predict",
        b"{}",
        {"inference-header-content-length": "2"},
        400,
        "the binary tensor extension is not supported",
    ),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_a_wrong_request_gets_one_line_and_disturbs_no_other(
    digits: Worker, reference: LiteRTExecutor, case: int
) -> None:
    method, path, body, headers, code, message = BAD[case]
    array = images(3, seed=case)
    expected = reference.run([array])[0].tobytes()
    stop = threading.Event()

    def others() -> int:
        count = 0
        with httpx.Client(base_url=digits.url) as client:
            while not stop.is_set() or not count:
                answer = client.post("/v2/models/digits/infer", json=request(array))
                assert output(answer).tobytes() == expected
                count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(others)
        try:
            for _ in range(5):
                answer = digits.client.request(method, path, content=body, headers=headers)
                assert answer.status_code == code, answer.text
                assert list(answer.json()) == ["error"]
                assert message in answer.json()["error"]
                assert "\n" not in answer.json()["error"]
        finally:
            stop.set()
        assert beside.result(30) > 0
    if code == 405:
        assert answer.headers["allow"] in ("GET, HEAD", "POST")


@pytest.mark.parametrize(("data", "pipeline"), [(2, 1), (1, 3), (2, 2)])
def test_a_spread_model_answers_the_same_bits(
    artifacts: Path, reference: LiteRTExecutor, tmp_path: Path, data: int, pipeline: int
) -> None:
    with worker(artifacts / "seed-int8", tmp_path, data=data, pipeline=pipeline) as running:
        for rows in (1, 2, 31, 65):
            array = images(rows)
            assert output(running.infer(request(array))).tobytes() == reference.run([array])[0].tobytes()


def test_integer_inputs_and_several_outputs(artifacts: Path, models: Path, tmp_path: Path) -> None:
    path = models / "integers-int8.tflite"
    pixels, shift = examples(path, 5)
    features, best = LiteRTExecutor(path).run([pixels, shift])
    with worker(artifacts / "integers-int8", tmp_path, name="bytes") as running:
        answer = running.infer({"inputs": [tensor("pixels", pixels), tensor("shift", shift)]}, "bytes")
        assert output(answer, 0).tobytes() == features.tobytes()
        assert output(answer, 1).tobytes() == best.tobytes()
        rows = [{"pixels": p.tolist(), "shift": int(s)} for p, s in zip(pixels, shift, strict=True)]
        predictions = running.predict({"instances": rows}, "bytes").json()["predictions"]
        assert [row["best"] for row in predictions] == best.tolist()


def test_metrics_name_the_model_and_count_by_protocol_and_code(digits: Worker) -> None:
    digits.infer(request(images(1)))
    digits.client.post("/v1/models/digits:predict", content=b"no")
    text = digits.client.get("/metrics").text
    assert 'modelpress_model_info{digest="sha256:' in text
    assert 'revision="digits-1"' in text
    assert 'modelpress_requests_total{code="200",protocol="oip-rest"}' in text
    assert 'modelpress_requests_total{code="400",protocol="tfserving-rest"}' in text
    for name in ("request_seconds", "batch_rows", "queue_seconds", "compute_seconds"):
        assert f"modelpress_{name}_bucket" in text
    assert digits.metric("modelpress_in_flight") == 0


def test_memory_stays_below_100_megabytes(digits: Worker) -> None:
    for _ in range(200):
        digits.infer(request(images(8)))
    assert psutil.Process(digits.process.pid).memory_info().rss < 100e6


def test_tensorflow_and_the_cluster_clients_are_never_imported() -> None:
    program = (
        "import sys, modelpress.serving.worker, modelpress.serving.executors.stages\n"
        "print([name for name in ('tensorflow', 'keras', 'kopf', 'kubernetes', 'fsspec', 'oras')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_flipped_byte_is_refused(artifacts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    for file in (artifacts / "seed-int8").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    data = bytearray((folder / "model.tflite").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.tflite").write_bytes(data)
    process, _, termination, _ = start(folder, tmp_path)
    found = failure(process, termination, 65)
    assert found.reason == "ArtifactCorrupt"
    assert "model.tflite: sha256 is" in found.message


def test_more_stages_than_operators_are_refused(artifacts: Path, tmp_path: Path) -> None:
    process, _, termination, log = start(artifacts / "seed-int8", tmp_path, pipeline=9)
    found = failure(process, termination, 65)
    assert found.reason == "UnsupportedModel"
    assert found.message == "parallelism.pipeline is 9, but the model has 4 operators: at most 4 stages"
    assert "Traceback" not in log.read_text()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    process, _, termination, _ = start(tmp_path / "nothing", tmp_path)
    assert failure(process, termination, 66).reason == "ArtifactLost"


def test_an_address_in_use_is_said_in_one_line(artifacts: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, _, termination, log = start(artifacts / "seed-int8", tmp_path, port=port)
        found = failure(process, termination, 69)
    assert found.message == f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert "Traceback" not in log.read_text()


def test_log_lines_are_json(digits: Worker) -> None:
    lines = [line for line in digits.log.read_text().splitlines() if not line.startswith("INFO: Created")]
    assert {"time", "level", "logger", "message"} <= set(json.loads(lines[0]))
    assert all(json.loads(line)["level"] == "INFO" for line in lines)
