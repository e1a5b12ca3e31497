"""Calls of gRPC in the test's process: refused, compressed, left, late, logged, streamed, drained."""

import asyncio
import gzip
import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from modelpress.serving.grpc import messages as pb
from modelpress.serving.observability.access_log import AccessLog
from modelpress.serving.service import Phase
from tests.support.serving import grpc_frames as frames
from tests.support.serving.grpc_server import (
    INFER,
    LIVE,
    PREDICT,
    WATCH,
    Caller,
    ServerFixture,
    message,
    serve,
    values,
)
from tests.support.serving.http_server import MAX_BODY, until
from tests.support.serving.trace_context import PARENT, TRACE

Code = grpc.StatusCode
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def test_an_inference_is_answered_and_counted() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        assert values(await caller()).tolist() == [3.0] * 3
        assert values(await caller(INFER, message(40))).tolist() == [3.0] * 120
        assert server.counted("oip-grpc") == {"200": 2}

    serve(test)


NO_MODEL = "no model %s; this worker serves 'double'"
REFUSED: dict[str, tuple[str, bytes, Any, str, int]] = {
    "method": ("/a.B/C", b"", Code.UNIMPLEMENTED, "no such method: '/a.B/C'", 501),
    "garbage": (
        INFER,
        b"\xff",
        Code.INVALID_ARGUMENT,
        "the ModelInferRequest is not valid: it ends inside a field",
        400,
    ),
    "model": (INFER, message().replace(b"double", b"doubt\n"), Code.NOT_FOUND, NO_MODEL % "'doubt\\n'", 404),
    "umlauts": (
        INFER,
        message().replace(b"double", b"%\xc3\xa4\n~ "),
        Code.NOT_FOUND,
        NO_MODEL % "'%ä\\n~ '",
        404,
    ),
    "no text": (
        INFER,
        message().replace(b"double", b"\xff" * 6),
        Code.INVALID_ARGUMENT,
        "model_name is not UTF-8",
        400,
    ),
    "page": (LIVE, b"\x0a\xff", Code.INVALID_ARGUMENT, "the request is not a valid ServerLiveRequest", 400),
    "long page": (
        LIVE,
        b"\x0a\x80\x80\x04" + bytes(65536),
        Code.RESOURCE_EXHAUSTED,
        "a ServerLiveRequest may have 65536 bytes; this has 65540",
        413,
    ),
    "health": ("/grpc.health.v1.Health/Check", b"\x0a\x01x", Code.NOT_FOUND, "no such service", 404),
    "model of TensorFlow": (
        PREDICT,
        b"",
        Code.INVALID_ARGUMENT,
        "model_spec.name is missing; this worker serves 'double'",
        400,
    ),
    "rows": (
        INFER,
        message(8193, 1),
        Code.RESOURCE_EXHAUSTED,
        "the request has 8193 rows; at most 8192 are accepted",
        413,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_a_code_and_one_line_and_is_counted(name: str) -> None:
    path, request, code, details, status = REFUSED[name]

    async def test(server: ServerFixture, caller: Caller) -> None:
        assert await caller(path, request) == (code, details)
        protocol = {INFER: "oip-grpc", PREDICT: "tfserving-grpc"}.get(path, "grpc")
        await until(lambda: server.counted(protocol) == {str(status): 1})
        assert values(await caller()).tolist() == [3.0] * 3

    serve(test)


def test_a_fault_is_told_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        code, details = await caller(INFER, message(value=-1))
        assert (code, details) == (Code.INTERNAL, "internal error")
        assert server.counted("oip-grpc") == {"500": 1}

    serve(test)
    assert "ZeroDivisionError" in caplog.text


def test_compressed_messages_are_taken_within_the_limit_of_messages() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        gzipped = {"compression": grpc.Compression.Gzip}
        assert values(await caller(INFER, message(40), **gzipped)).tolist() == [3.0] * 120
        bomb = bytes(50 * MAX_BODY)
        assert len(gzip.compress(bomb)) < MAX_BODY / 10
        code, _ = await caller(INFER, bomb, **gzipped)
        assert code is Code.RESOURCE_EXHAUSTED

    serve(test)


def test_a_message_may_have_max_request_bytes_and_not_much_more() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        assert len(values(await caller(INFER, message(1, MAX_BODY // 4)))) == MAX_BODY // 4
        code, _ = await caller(INFER, message(1, MAX_BODY // 4 + 20_000))
        assert code is Code.RESOURCE_EXHAUSTED
        assert len(values(await caller(INFER, message(1, 10)))) == 10

    serve(test)


def test_metadata_over_the_limit_ends_the_call_and_not_the_connection() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        waiting = caller.begin()
        server.device.shut = True
        await asyncio.sleep(0.05)
        code, _ = await caller(metadata=[("x-large", "y" * 17_000)])
        assert code is Code.RESOURCE_EXHAUSTED
        server.device.open()
        assert values(await waiting).tolist() == [3.0] * 3

    serve(test)


def test_a_caller_that_leaves_is_forgotten() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        server.device.shut, server.device.depth = True, 1
        other = Caller(server.address)
        calls = []
        for number, one in enumerate((caller, other, caller), 1):
            calls.append(one.begin(INFER, message(number)))
            await until(lambda number=number: server.service.in_flight == number)  # type: ignore[misc]
        calls[2].cancel()
        await until(lambda: server.counted("oip-grpc").get("499") == 1)
        await other.channel.close()
        await until(lambda: server.counted("oip-grpc").get("499") == 2)
        server.device.open()
        assert values(await calls[0]).tolist() == [3.0] * 3
        assert values(await caller()).tolist() == [3.0] * 3
        assert server.executor.rows == 2  # what waited in the queue was never computed

    serve(test)


def test_deadlines_of_callers() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        server.device.shut = True
        code, _ = await caller(timeout=0.1)
        assert code is Code.DEADLINE_EXCEEDED
        await until(lambda: sum(server.counted("oip-grpc").values()) == 1)
        assert set(server.counted("oip-grpc")) <= {"499", "504"}  # whoever looked at the clock first

    serve(test)


def test_the_workers_own_deadline() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        server.device.shut = True
        assert await caller() == (Code.DEADLINE_EXCEEDED, "no answer within 0.2 seconds")
        assert server.counted("oip-grpc") == {"504": 1}

    serve(test, timeout=0.2)


def test_calls_are_logged_and_traced(tmp_path: Path) -> None:
    fields = [("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "7")]

    async def test(server: ServerFixture, caller: Caller) -> None:
        with (tmp_path / "log").open("wb") as stream:
            server.service.access_log = AccessLog(stream)
            call = caller.begin(metadata=fields)
            answer = await call
            trailing = dict(await call.trailing_metadata())
            assert trailing["traceparent"].split("-")[1] == TRACE
            assert trailing["tracestate"] == "a=1"
            for path in ("/x", LIVE, "/grpc.health.v1.Health/Check"):
                await caller(path, b"", metadata=fields)
            await caller(INFER, b"\xff", metadata=fields)
            server.service.access_log.flush()
            server.service.access_log.close()
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert [(line["path"], line["status"], line["protocol"]) for line in lines] == [
            (INFER, 200, "oip-grpc"),
            ("/x", 501, "grpc"),
            (LIVE, 200, "grpc"),
            ("/grpc.health.v1.Health/Check", 200, "grpc"),
            (INFER, 400, "oip-grpc"),
        ]
        for line in lines:
            assert (line["client"], line["request_id"], line["trace_id"]) == ("127.0.0.1", "7", TRACE)
        assert lines[0]["bytes"] == len(answer)

    serve(test)


async def nothing(sent: asyncio.Event) -> Any:
    """Send a message when told to."""
    await sent.wait()
    yield message()


def test_callers_that_send_no_message_hold_up_nobody_and_are_ended() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        sent = asyncio.Event()
        slow = Caller(server.address)
        calls = [slow.channel.stream_unary(path)(nothing(sent)) for path in (INFER, LIVE, PREDICT) * 20]
        calls += [slow.channel.stream_unary(path)(nothing(sent)) for path in (WATCH, REFLECT)]
        for _ in range(10):
            assert values(await caller()).tolist() == [3.0] * 3
        for call in calls:
            code = await call.code()
            assert code in (Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE)
        await until(lambda: server.counted("oip-grpc").get("408") == 20)
        await until(lambda: server.counted("tfserving-grpc").get("408") == 20)
        await slow.channel.close()

    serve(test, timeout=2)


@pytest.mark.parametrize(("path", "protocol"), [(INFER, "oip-grpc"), (LIVE, "grpc")])
def test_a_call_without_a_message_is_refused(path: str, protocol: str) -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        empty = caller.channel.stream_unary(path)(iter(()))
        assert await empty.code() is Code.UNIMPLEMENTED
        assert await empty.details() == "the call has no message"
        await until(lambda: server.counted(protocol) == {"501": 1})

    serve(test)


@pytest.mark.parametrize(("path", "protocol"), [(INFER, "oip-grpc"), (LIVE, "grpc")])
def test_a_caller_that_leaves_while_its_message_arrives_is_counted(path: str, protocol: str) -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        calls, sent = server.grpc.calls, asyncio.Event()
        threads = calls.inferences if path == INFER else calls.pages
        call = caller.channel.stream_unary(path)(nothing(sent))
        await until(lambda: len(threads.arriving) == 1)
        call.cancel()
        await until(lambda: sum(server.counted(protocol).values()) == 1)
        assert set(server.counted(protocol)) <= {"499", "501"}  # grpcio may hear of the message's end first

    serve(test)


def status(found: Any) -> Any:
    return health_pb2.HealthCheckResponse.FromString(found).status


def test_health_follows_the_phase_of_the_worker() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        serving, other = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        unknown = health_pb2.HealthCheckRequest(service="x").SerializeToString()
        known = health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService")
        server.service.phase = Phase.LOADING
        watch = caller.channel.unary_stream(WATCH)(known.SerializeToString())
        assert status(await watch.read()) == other
        for phase, expected in ((Phase.READY, serving), (Phase.DRAINING, other)):
            server.service.phase = phase
            assert status(await caller("/grpc.health.v1.Health/Check", b"")) == expected
            listed = health_pb2.HealthListResponse.FromString(
                await caller("/grpc.health.v1.Health/List", b"")
            )
            assert listed.statuses[""].status == expected
            assert status(await watch.read()) == expected
        others = caller.channel.unary_stream(WATCH)(unknown)
        assert status(await others.read()) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()
        await until(lambda: server.counted("grpc").get("200", 0) >= 5)

    serve(test)


def test_a_worker_that_loads_says_so() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        model, server.service.model, server.service.phase = server.service.model, None, Phase.LOADING
        for path in (INFER, PREDICT, "/tensorflow.serving.PredictionService/GetModelMetadata"):
            assert await caller(path, b"") == (Code.UNAVAILABLE, "the model is being loaded")
        found = await caller("/tensorflow.serving.ModelService/GetModelStatus", b"")
        (version,) = pb.GetModelStatusResponse.FromString(found).model_version_status
        assert version.state == pb.ModelVersionStatus.LOADING
        server.service.model = model
        assert values(await caller()).tolist() == [3.0] * 3

    serve(test)


def test_a_connection_has_a_greatest_age_and_its_calls_are_answered() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        server.device.shut = True
        reader, writer = await asyncio.open_connection("127.0.0.1", server.grpc.port)
        writer.write(frames.SETTLED + frames.call(1, frames.body(message())))
        seen = []
        while frames.GOAWAY not in seen:
            kind, _, payload = await frames.read(reader)
            if kind == frames.PING:  # between the first goodbye and the last
                writer.write(frames.frame(frames.PING, frames.ACK, 0, payload))
            seen.append(kind)
        assert frames.HEADERS not in seen
        server.device.open()
        while kind != frames.DATA:
            kind, _, payload = await frames.read(reader)
        assert values(payload[5:]).tolist() == [3.0] * 3
        writer.close()

    serve(test, drain=0.6)


def test_stop_answers_what_is_in_flight_and_ends_streams() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        server.device.shut = True
        watch = caller.channel.unary_stream(WATCH)(b"")
        await watch.read()
        waiting = caller.begin()
        await until(lambda: server.service.in_flight == 1)
        stopping = asyncio.create_task(server.grpc.stop(30))
        assert await watch.code() in (Code.CANCELLED, Code.UNAVAILABLE)
        late = Caller(server.address)
        code, _ = await late(timeout=5)
        assert code is Code.UNAVAILABLE
        server.device.open()
        assert values(await waiting).tolist() == [3.0] * 3
        await stopping
        await late.channel.close()

    serve(test)


def test_stop_cuts_off_what_takes_too_long() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        server.device.shut = True
        waiting = caller.begin()
        await until(lambda: server.service.in_flight == 1)
        await server.grpc.stop(0.2)
        with pytest.raises(grpc.aio.AioRpcError):
            await waiting
        await until(lambda: server.counted("oip-grpc") == {"499": 1})

    serve(test)


def test_a_watcher_that_leaves_while_others_are_sent_to_holds_up_no_call() -> None:
    async def test(server: ServerFixture, caller: Caller) -> None:
        watch = caller.channel.unary_stream(WATCH)(b"")
        await watch.read()
        lock = server.grpc._health._servicer._lock  # held for as long as a watcher takes to be sent to
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                over.wait(60)

        holding = asyncio.create_task(asyncio.to_thread(hold))
        await asyncio.to_thread(held.wait)
        watch.cancel()
        try:
            for _ in range(3):
                assert values(await asyncio.wait_for(caller(), 20)).tolist() == [3.0] * 3
        finally:
            over.set()
            await holding

    serve(test)
