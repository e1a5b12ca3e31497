"""What clients, proxies and operators expect of any HTTP server: names, counts, ages, answers to all."""

import asyncio
import io
import json
from typing import Any

import pytest

from modelpress.serving.http.connections import ConnectionLimits
from modelpress.serving.observability.access_log import AccessLog
from modelpress.serving.service import Phase
from tests.support.serving.http_server import OIP, PREDICT, ROW, ServerFixture, post, serve, until

DONE = (200, b'{"predictions":[[2.0]]}')
LIMITS = ConnectionLimits(connections=4, head_bytes=1000, pipelined=2)


def get(path: str, headers: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


PAGES = [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/double",
    "/v2/models/double/ready",
    "/v1/models/double",
    "/v1/models/double/metadata",
    "/openapi.json",
]


@pytest.mark.parametrize("path", PAGES)
def test_each_page_answers_with_a_slash_at_its_end_and_its_head_alone(path: str) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect(get(path))
        head, body = await peer.answer()
        assert head.startswith(b"HTTP/1.1 200")
        await peer.send(get(f"{path}/"))
        assert await peer.answer() == (head, body)
        await peer.send(get(path, method="HEAD") + get(path))
        alone = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: %d\r\n" % len(body) in alone
        assert (await peer.answer())[1] == body  # nothing of a body came between

    serve(test)


def test_inference_with_a_slash_at_the_end_of_its_path() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect(post(f"{PREDICT}/", ROW) + post(f"{OIP}/", b"{}"))
        assert await peer.status() == DONE
        assert (await peer.error())[0] == 400
        await peer.send(get("/v2//") + get(f"{PREDICT}/"))
        assert [(await peer.error())[0] for _ in range(2)] == [404, 405]

    serve(test)


REFUSED = {
    404: get("/nothing"),
    405: get(PREDICT),
    413: post(PREDICT, b"").replace(b"Length: 0", b"Length: 99999999"),
    415: post(PREDICT, ROW, "Content-Encoding: br\r\n"),
    421: get("/v2").replace(b"localhost", b"evil.example"),
    431: get("/v2", f"X: {'x' * 2000}\r\n"),
    400: b"no HTTP\r\n\r\n",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_is_refused_is_counted_and_logged(code: int) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        stream = io.BytesIO()
        server.service.access_log = AccessLog(stream)
        peer = await connect(REFUSED[code])
        assert (await peer.error())[0] == code
        await until(lambda: b"\n" in stream.getvalue())
        line = json.loads(stream.getvalue())
        assert line["status"] == code
        words = REFUSED[code].decode().split(" ")
        assert (line["method"], line["path"]) == ((None, None) if code == 400 else tuple(words[:2]))
        assert server.answered(code) == 1

    serve(test, limits=LIMITS)


def test_refusals_without_a_request_and_while_the_model_loads_are_counted() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        slow, pipelining = await connect(get("/v2")[:-4]), await connect(post(PREDICT, ROW) * 9)
        server.later(21)
        assert (await slow.error())[0] == 408
        server.device.open()
        assert [(await pipelining.status())[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (server.answered(408), server.answered(429)) == (1, 1)
        server.later(3)  # nobody waits longer for the refused to read
        await until(lambda: not server.connections)
        server.device.shut = True
        for _ in range(4):
            await connect(post(PREDICT, ROW))
        full = await connect()
        assert (await full.error())[0] == 503
        assert server.answered(503) == 1
        server.device.open()

    serve(test, limits=LIMITS)

    async def loading(server: ServerFixture, connect: Any) -> None:
        server.service.phase = Phase.LOADING
        peer = await connect(post("/v1/models/late:predict", ROW) + get("/v2/health/ready"))
        assert (await peer.error())[0] == 503
        assert (await peer.status())[0] == 503
        assert server.answered(503) == 1  # a probe is no request that was refused

    serve(loading)


@pytest.mark.parametrize(
    ("sent", "logged"),
    [("grüße-1".encode(), "grüße-1"), (b"\xff\xfe", "ÿþ"), (b"plain", "plain"), (b"x" * 300, "x" * 256)],
)
def test_the_id_of_a_request_is_kept_and_given_back(sent: bytes, logged: str) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        for log in (None, stream := io.BytesIO()):
            server.service.access_log = None if log is None else AccessLog(stream)
            for request in (post(PREDICT, ROW), get("/v2"), get("/nothing")):
                named = request.replace(b"\r\n\r\n", b"\r\nX-Request-Id: " + sent + b"\r\n\r\n", 1)
                peer = await connect(named)
                head, _ = await peer.answer()
                assert b"\r\nx-request-id: " + sent + b"\r\n" in head
        await until(lambda: stream.getvalue().count(b"\n") == 3)
        assert {json.loads(line)["request_id"] for line in stream.getvalue().splitlines()} == {logged}

    serve(test)


ID, SPAN = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
W3C = f"traceparent: 00-{ID}-{SPAN}-01\r\n"


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        (W3C, ID),
        (f"b3: {ID}-{SPAN}-1-{SPAN}\r\n", ID),
        (f"B3: {ID[16:]}-{SPAN}\r\n", ID[16:].zfill(32)),
        (f"X-B3-TraceId: {ID}\r\nX-B3-SpanId: {SPAN}\r\nX-B3-Sampled: 1\r\n", ID),
        (f"{W3C}b3: {'a' * 32}-{SPAN}\r\n", ID),
        ("b3: 0\r\n", None),
        (f"b3: {'0' * 32}-{SPAN}-1\r\n", None),
        ("X-B3-TraceId: xyz\r\n", None),
    ],
)
def test_traces_of_both_kinds_reach_the_log(headers: str, trace: str | None) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        stream = io.BytesIO()
        server.service.access_log = AccessLog(stream)
        peer = await connect(post(PREDICT, ROW, headers))
        head, _ = await peer.answer()
        assert (b"traceparent" in head) == headers.startswith("traceparent")
        await until(lambda: b"\n" in stream.getvalue())
        line = json.loads(stream.getvalue())
        assert line["trace_id"] == trace
        assert (line["span_id"] is None) == (trace is None)

    serve(test)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        ";;;",
        "application/openmetrics-text;version=zz",
        "text/plain;version=1.0.0;escaping=?",
        "\xff,;=",
    ],
)
def test_metrics_in_any_format_that_is_asked_for(accept: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(get("/metrics", "Accept: @\r\n").replace(b"@", accept.encode("latin-1")))
        status, body = await peer.status()
        assert (status, b"modelpress_in_flight" in body) == (200, True)

    serve(test)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("a.localhost", 200),
        ("127.0.0.1:1", 200),
        ("127.1.2.3", 200),
        ("[::1]:8080", 200),
        ("", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.1", 421),
    ],
)
def test_on_loopback_only_names_of_this_machine_are_taken(host: str, code: int) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect(f"GET /v2 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await peer.status())[0] == code

    serve(test)

    async def anywhere(server: ServerFixture, connect: Any) -> None:
        peer = await connect(f"GET /v2 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await peer.status())[0] == 200

    serve(anywhere, host="0.0.0.0")


def test_an_old_connection_ends_with_its_next_answer() -> None:
    patient = ConnectionLimits(idle_seconds=1e9)

    async def test(server: ServerFixture, connect: Any) -> None:
        peers = [await connect(post(PREDICT, ROW)) for _ in range(20)]
        for peer in peers:
            assert b"connection: close" not in (await peer.answer())[0]
        server.later(patient.age_seconds * 0.9 - 1)
        for peer in peers:
            await peer.send(post(PREDICT, ROW))
            assert b"connection: close" not in (await peer.answer())[0]
        server.later(patient.age_seconds)  # some are as old as they may be, some not yet
        ends = set()
        for peer in peers:
            await peer.send(post(PREDICT, ROW))
            ends.add(b"connection: close" in (await peer.answer())[0])
        assert ends == {True, False}
        server.later(patient.age_seconds * 1.1 + 1)
        for peer in peers:
            if not peer.reader.at_eof():
                await peer.send(post(PREDICT, ROW))
                assert b"connection: close" in (await peer.answer())[0]
            assert await peer.ended()

    serve(test, limits=patient)


def test_answers_that_nobody_reads_have_a_budget_over_all_connections() -> None:
    long = post(PREDICT, json.dumps({"instances": [[1.25] * 150_000]}).encode())

    async def test(server: ServerFixture, connect: Any) -> None:
        peers = []
        for _ in range(12):
            peer = await connect()
            peer.reader._transport.pause_reading()
            peer.writer.write(long * 30)
            peers.append(peer)
            await asyncio.sleep(0.02)
        honest = await connect()
        await until(lambda: len(server.connections) < 13)  # who waits longest is cut off
        waiting = sum(one.transport.get_write_buffer_size() for one in server.connections)
        assert waiting < 4_000_000 + 1_200_000
        await honest.send(long)
        assert (await honest.status())[0] == 200
        for peer in peers:
            peer.writer.transport.abort()

    serve(test, limits=ConnectionLimits(unread_bytes=4_000_000))
