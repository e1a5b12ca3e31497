"""The gRPC front end of a real worker process, called with grpcio."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.grpc import messages as pb
from tests.support.serving.artifacts import Worker, examples, failure, free_port, start, wait_ready, worker
from tests.support.serving.grpc_client import SERVICE, Client, images, output, request, until

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def client(digits: Worker) -> Iterator[Client]:
    made = Client(digits.grpc)
    yield made
    made.channel.close()


def test_the_pages_of_a_server(client: Client) -> None:
    assert client("ServerLive").live
    assert client("ServerReady").ready
    assert client("ServerMetadata").name == "modelpress"
    for version in ("", "digits-1"):
        assert client("ModelReady", pb.ModelReadyRequest(name="digits", version=version)).ready
        metadata = client("ModelMetadata", pb.ModelMetadataRequest(name="digits", version=version))
        assert (metadata.name, metadata.platform) == ("digits", "litert")
        assert metadata.inputs[0].shape == [-1, 64]


def test_health_as_kubernetes_asks(client: Client) -> None:
    assert client.health(b"") == b"\x08\x01"
    name = SERVICE.strip("/").encode()
    assert client.health(b"\x0a" + bytes((len(name),)) + name) == b"\x08\x01"
    assert refused(lambda: client.health(b"\x0a\x01x")) == (Code.NOT_FOUND, "no such service")


def test_raw_and_typed_requests_answer_what_the_bare_interpreter_computes(
    client: Client, reference: LiteRTExecutor
) -> None:
    for rows in (1, 7, 65):
        expected = reference.run([images(rows)])[0]
        assert output(client.infer(images(rows))) == expected.tobytes()
        typed = pb.ModelInferRequest(model_name="digits", id="7")
        entry = typed.inputs.add(name="images", datatype="FP32", shape=[rows, 64])
        entry.contents.fp32_contents.extend(images(rows).ravel().tolist())
        answer = client("ModelInfer", typed)
        assert answer.id == "7"
        assert np.array(answer.outputs[0].contents.fp32_contents, "float32").tobytes() == expected.tobytes()


def test_requests_of_many_threads_get_their_own_rows(client: Client, reference: LiteRTExecutor) -> None:
    def ask(rows: int) -> bool:
        return output(client.infer(images(rows))) == reference_output[rows]

    reference_output = {rows: reference.run([images(rows)])[0].tobytes() for rows in range(1, 20)}
    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(ask, list(range(1, 20)) * 20))


def test_callers_that_send_no_message_hold_up_nobody(digits: Worker, client: Client) -> None:
    sent, idle = threading.Event(), Client(digits.grpc)
    calls = idle_calls(idle, 15, sent)  # fewer than half of the threads
    assert output(client.infer(images(3)))
    sent.set()
    answers = [pb.ModelInferResponse.FromString(call.result(60)) for call in calls]
    assert len({output(answer) for answer in answers}) == 1
    idle.channel.close()


def idle_calls(
    client: Client, count: int, sent: threading.Event, method: str = f"{SERVICE}ModelInfer"
) -> list[Any]:
    """Begin calls whose message does not come before `sent`."""

    def nothing() -> Iterator[bytes]:
        sent.wait(60)
        yield request(images(3)).SerializeToString()

    call = client.channel.stream_unary(method)
    return [call.future(nothing(), timeout=60) for _ in range(count)]


def test_calls_whose_message_takes_long_make_room_for_others(artifacts: Path, tmp_path: Path) -> None:
    with worker(artifacts / "seed-int8", tmp_path) as running:
        sent, clients = threading.Event(), [Client(running.grpc) for _ in range(3)]
        calls = [call for idle in clients[:2] for call in idle_calls(idle, 100, sent)]
        assert output(clients[2].infer(images(3)))  # once enough of them have been given up
        until(lambda: sum(call.done() for call in calls) >= 136)  # all but what may wait for longer
        assert Code.OK not in {call.code() for call in calls if call.done()}
        until(lambda: 'code="408",protocol="oip-grpc"' in running.client.get("/metrics").text)
        for client in clients:
            client.channel.close()
        sent.set()


def test_a_message_that_does_not_come_is_not_waited_for(artifacts: Path, tmp_path: Path) -> None:
    with worker(artifacts / "seed-int8", tmp_path, request_timeout_seconds=2) as running:
        client, sent = Client(running.grpc), threading.Event()
        methods = [SERVICE + name for name in ("ModelInfer", "ModelMetadata", "ServerLive")]
        for method in (*methods, "/grpc.health.v1.Health/Check"):
            (call,) = idle_calls(client, 1, sent, method)
            assert refused(call.result)[0] in (Code.CANCELLED, Code.UNAVAILABLE)
        until(lambda: 'code="408",protocol="oip-grpc"' in running.client.get("/metrics").text)
        sent.set()
        client.channel.close()


def test_calls_at_a_time_are_limited(artifacts: Path, tmp_path: Path) -> None:
    options = {"max_batch_size": 2048, "max_batch_delay_milliseconds": 10_000, "request_timeout_seconds": 60}
    with worker(artifacts / "seed-int8", tmp_path, **options) as running:
        clients = [Client(running.grpc) for _ in range(9)]
        calls = [
            clients[number % 9]
            .channel.unary_unary(f"{SERVICE}ModelInfer")
            .future(request(images(1)).SerializeToString())
            for number in range(1030)
        ]
        until(lambda: sum(call.done() for call in calls) == 6)
        assert {call.code() for call in calls if call.done()} == {Code.RESOURCE_EXHAUSTED}
        until(lambda: running.metric("modelpress_in_flight") == 64)  # others wait for a thread
        for client in clients:
            client.channel.close()
        until(lambda: running.metric("modelpress_in_flight") == 0)
        again = Client(running.grpc)
        assert again("ServerReady").ready
        again.channel.close()


def test_calls_of_a_connection_wait_in_the_client(artifacts: Path, tmp_path: Path) -> None:
    options = {"max_batch_size": 2048, "max_batch_delay_milliseconds": 10_000, "request_timeout_seconds": 60}
    with worker(artifacts / "seed-int8", tmp_path, **options) as running:
        client, other = Client(running.grpc), Client(running.grpc)
        method = client.channel.unary_unary(f"{SERVICE}ModelInfer")
        calls = [method.future(request(images(1)).SerializeToString()) for _ in range(520)]
        until(lambda: running.metric("modelpress_in_flight") == 64)
        assert other("ServerReady").ready
        calls[0].cancel()
        until(lambda: 'code="499",protocol="oip-grpc"' in running.client.get("/metrics").text)
        until(lambda: running.metric("modelpress_in_flight") == 64)  # one that waited has come
        assert not any(call.done() for call in calls[1:])
        client.channel.close()
        other.channel.close()


def resident(process: Any) -> int:
    """Return the most bytes that a process has had in memory until now."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_a_compressed_message_is_refused_before_it_is_expanded(client: Client, digits: Worker) -> None:
    client.infer(images(1000))
    before = resident(digits.process)
    call = client.channel.unary_unary(f"{SERVICE}ModelInfer")
    zeros = bytes(100 << 20)  # maxRequestBytes is 1 MiB
    code, _ = refused(lambda: call(zeros, timeout=60, compression=grpc.Compression.Gzip))
    assert code in (
        Code.RESOURCE_EXHAUSTED,
        Code.UNAVAILABLE,
    )  # where its connection was old, that is what is seen
    assert resident(digits.process) < before + (20 << 20)
    assert output(client.infer(images(1)))


def refused(call: Any) -> tuple[Any, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_errors_have_their_codes_and_one_line(client: Client, digits: Worker) -> None:
    code, details = refused(lambda: client.infer(images(2)[:, :63]))
    assert code is Code.INVALID_ARGUMENT
    assert details == "inputs[0] 'images': shape [2,63] does not fit [-1,64]"
    other = pb.ModelInferRequest(model_name="other")
    assert refused(lambda: client("ModelInfer", other)) == (
        Code.NOT_FOUND,
        "no model 'other'; this worker serves 'digits'",
    )
    assert refused(lambda: client("ModelReady", pb.ModelReadyRequest(name="x")))[0] is Code.NOT_FOUND
    assert refused(lambda: client.infer(images(32 * 256 + 1)[:, :1]))[0] is Code.INVALID_ARGUMENT
    too_large = images(5000)  # 1,280,000 bytes; maxRequestBytes is 1,048,576
    assert refused(lambda: client.infer(too_large))[0] is Code.RESOURCE_EXHAUSTED
    text = digits.client.get("/metrics").text
    for code_ in ("400", "404"):
        assert f'modelpress_requests_total{{code="{code_}",protocol="oip-grpc"}}' in text
    assert client.infer(images(1)).outputs[0].shape == [1, 10]


@pytest.mark.parametrize("method", ["ModelMetadata", "ServerLive"])
def test_bytes_that_are_no_message_are_refused(client: Client, method: str) -> None:
    call = client.channel.unary_unary(SERVICE + method)
    assert refused(lambda: call(b"\x0a\xffx", timeout=30)) == (
        Code.INVALID_ARGUMENT,
        f"the request is not a valid {method}Request",
    )


def test_an_unknown_method_is_unimplemented(client: Client) -> None:
    call = client.channel.unary_unary(f"{SERVICE}RepositoryIndex")
    assert refused(lambda: call(b"", timeout=30))[0] is Code.UNIMPLEMENTED


def test_metrics_count_grpc(client: Client, digits: Worker) -> None:
    client.infer(images(1))
    assert 'modelpress_requests_total{code="200",protocol="oip-grpc"}' in digits.client.get("/metrics").text
    assert digits.metric("modelpress_in_flight") == 0


def test_deadlines(artifacts: Path, tmp_path: Path) -> None:
    options = {"request_timeout_seconds": 1, "max_batch_delay_milliseconds": 10_000}
    with worker(artifacts / "seed-int8", tmp_path, **options) as running:
        client = Client(running.grpc)
        assert refused(lambda: client.infer(images(1))) == (
            Code.DEADLINE_EXCEEDED,
            "no answer within 1 seconds",
        )
        client.channel.close()


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_work_of_a_caller_that_left_is_dropped(artifacts: Path, tmp_path: Path, how: str) -> None:
    with worker(artifacts / "seed-int8", tmp_path, max_batch_delay_milliseconds=3000) as running:
        client = Client(running.grpc)
        if how == "deadline":
            assert refused(lambda: client.infer(images(5), timeout=0.3))[0] is Code.DEADLINE_EXCEEDED
        else:
            call = client.channel.unary_unary(
                f"{SERVICE}ModelInfer", pb.ModelInferRequest.SerializeToString
            ).future(request(images(5)))
            until(lambda: running.metric("modelpress_queue_rows") == 5)
            call.cancel()
        # whoever looks at the clock first, client or server
        codes = ['code="499",protocol="oip-grpc"', 'code="504",protocol="oip-grpc"']
        until(lambda: any(code in running.client.get("/metrics").text for code in codes))
        assert output(client.infer(images(2)))
        assert running.metric("modelpress_batch_rows_sum") == 2
        client.channel.close()


@pytest.mark.parametrize("model", ["slow", "seed"])
def test_sigterm_under_load_loses_no_request(
    artifacts: Path, models: Path, tmp_path: Path, model: str
) -> None:
    port = free_port()
    process, url, _, log = start(artifacts / f"{model}-int8", tmp_path, grpc_port=port)
    array = examples(models / f"{model}-int8.tflite", 4)[0]
    name = {"slow": "features", "seed": "images"}[model]
    answers: list[bytes] = []
    lost: list[str] = []
    ended = threading.Event()

    def hammer(keep: bool) -> None:
        """Ask until nobody listens, or takes calls: what was taken must be answered."""
        client = Client(f"127.0.0.1:{port}")
        while not ended.is_set():
            try:
                answers.append(output(client.infer(array, name=name)))
            except grpc.RpcError as error:
                if error.code() is not Code.UNAVAILABLE:
                    lost.append(f"{error.code()} {error.details()}")
                break
            if not keep:
                client.channel.close()
                client = Client(f"127.0.0.1:{port}")
        client.channel.close()

    with httpx.Client(base_url=url, timeout=30) as http:
        wait_ready(http, process, log)
        threads = [threading.Thread(target=hammer, args=(number % 3 > 0,)) for number in range(24)]
        for thread in threads:
            thread.start()
        until(lambda: len(answers) > 50 or lost)
        process.send_signal(signal.SIGTERM)
        until(lambda: http.get("/v2/health/ready").status_code == 503)
        before = len(answers)
        until(lambda: len(answers) > before + 50 or lost)  # not ready, and still answering
    assert process.wait(60) == 0
    ended.set()
    for thread in threads:
        thread.join(60)
    assert not lost
    assert len(set(answers)) == 1
    assert "Traceback" not in log.read_text()


def test_a_port_in_use_is_said_in_one_line(artifacts: Path, tmp_path: Path, digits: Worker) -> None:
    port = int(digits.grpc.partition(":")[2])
    process, _, termination, log = start(artifacts / "seed-int8", tmp_path, grpc_port=port)
    found = failure(process, termination, 69)
    assert found.message == f"cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert "Traceback" not in log.read_text()


def test_without_a_port_there_is_no_grpc(artifacts: Path, tmp_path: Path) -> None:
    with worker(artifacts / "seed-int8", tmp_path, grpc_port=0) as running:
        assert running.client.get("/v2/health/ready").status_code == 200
        assert "google/_upb" not in libraries(running)
        assert "cygrpc" not in libraries(running)


def libraries(running: Worker) -> str:
    return Path(f"/proc/{running.process.pid}/maps").read_text()
