"""Requests on real sockets: each form of one, cut anywhere, pipelined, slow, and given up."""

import asyncio
import io
import json
import re
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.serving.batching.queue import Batcher
from modelpress.serving.observability.access_log import AccessLog
from modelpress.serving.service import Phase
from tests.support.serving.http_server import (
    FLOAT,
    OIP,
    PREDICT,
    ROW,
    ServerFixture,
    post,
    raw_body,
    serve,
    until,
)


def oip(values: list[list[float]], **more: Any) -> bytes:
    shape = [len(values), len(values[0])]
    flat = [value for row in values for value in row]
    entry = {"name": "x", "datatype": "FP32", "shape": shape, "data": flat}
    return json.dumps({"inputs": [entry], **more}).encode()


RAW, RAW_HEADER = raw_body(np.array([[1, 2], [3, 4]], FLOAT))
DONE = (200, b'{"predictions":[[2.0]]}')


def test_answers_are_right() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        for path in (OIP, "/v2/models/double/versions/double-1/infer", f"{OIP}?x"):
            await peer.send(post(path, oip([[1, 2.5]], id="a")))
            head, body = await peer.answer()
            assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            assert json.loads(body) == {
                "model_name": "double",
                "model_version": "double-1",
                "id": "a",
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 5.0]}],
            }
        await peer.send(post(OIP, RAW, RAW_HEADER))
        head, body = await peer.answer()
        length = int(re.search(rb"inference-header-content-length: (\d+)", head)[1])  # type: ignore[index]
        assert b"content-type: application/octet-stream" in head
        assert np.frombuffer(body[length:], FLOAT).tolist() == [2, 4, 6, 8]
        assert server.answered(200) == 4

    serve(test)


CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROW), ROW)
START = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n"
LONG = json.dumps({"instances": [[1.25] * 20_000]}).encode()
FORMS: dict[str, tuple[bytes, int]] = {
    "rows": (post(PREDICT, b'{"instances": [[1, 2], [3, 4]]}', "Connection: keep-alive\r\n"), 200),
    "columns": (post(PREDICT, b'{"inputs": [[1, 2], [3, 4]]}'), 200),
    "wrong raw length": (post(OIP, RAW[:-1], RAW_HEADER), 400),
    "no JSON": (post(OIP, b"nothing"), 400),
    "empty": (post(OIP, b""), 400),
    "ragged": (post(PREDICT, b'{"instances": [[1, 2], [3]]}'), 400),
    "too many rows": (post(PREDICT, json.dumps({"instances": [[1]] * 9000}).encode()), 413),
    "a fault": (post(PREDICT, b'{"instances": [[-1]]}'), 500),
    "chunked": (f"{START}Transfer-Encoding: chunked\r\n\r\n".encode() + CHUNKS, 200),
    "compressed": (post(PREDICT, ROW, "Content-Encoding: gzip\r\n"), 400),
    "HTTP/1.0": (post(PREDICT, ROW, version="1.0"), 200),
    "HTTP/1.0, keep-alive": (post(PREDICT, ROW, "Connection: keep-alive\r\n", version="1.0"), 200),
    "close": (post(PREDICT, ROW, "Connection: close\r\n"), 200),
    "too large": (f"{START}Content-Length: 9999999\r\n\r\n".encode(), 413),
    "no length": (f"{START}\r\n".encode(), 400),
    "a length that is none": (post(PREDICT, ROW, "Inference-Header-Content-Length: -1\r\n"), 400),
    "GET": (f"GET {PREDICT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 405),
    "another model": (post("/v1/models/other:predict", ROW), 404),
    "a page": (b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    "percent": (post("/v1/models/doubl%65:predict", ROW), 200),
    "a whole URL": (post(f"http://localhost{PREDICT}", ROW), 200),
    "no URL": (post("x:y:z", ROW), 400),
}
CLOSED = {"HTTP/1.0", "HTTP/1.0, keep-alive", "close", "too large", "no URL"}


@pytest.mark.parametrize("case", FORMS)
def test_each_form_of_a_request_is_answered_wherever_it_is_cut(case: str) -> None:
    request, code = FORMS[case]

    async def test(server: ServerFixture, connect: Any) -> None:
        answers = []
        body = request.index(b"\r\n\r\n") + 4
        for cuts in ([], [1], [body - 2], [body], [20, body, len(request) - 1]):
            peer = await connect()
            places = [0, *(cut for cut in cuts if cut < len(request)), len(request)]
            await peer.send(*(request[a:b] for a, b in pairwise(places) if a < b))
            head, text = await peer.answer()
            assert head.startswith(b"HTTP/1.1 %d " % code), head
            assert (code == 200) == (b'"error"' not in text)
            answers.append(text)
            if case in CLOSED:
                assert await peer.ended()
        assert len(set(answers)) == 1

    serve(test)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("count", [1, 2000, 20_000])
def test_answers_are_compressed_where_they_are_long(encoding: str, count: int) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        request = json.dumps({"instances": [[1.25] * count]}).encode()
        await peer.send(post(PREDICT, request, f"Accept-Encoding: {encoding}\r\n"))
        head, body = await peer.answer()
        assert (f"content-encoding: {encoding}".encode() in head) == (count > 1)
        assert (len(body) < 5 * count) == (count > 1)
        await peer.send(post(PREDICT, ROW))
        assert await peer.status() == DONE

    serve(test)


def test_a_caller_who_waits_for_100_continue_gets_it() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(post(PREDICT, ROW, "Expect: 100-continue\r\n")[: -len(ROW)])
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(ROW)
        assert await peer.status() == DONE

    serve(test)


STREAM = [
    post(PREDICT, b'{"instances": [[1]]}'),
    b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    post(PREDICT, b"nothing"),
    post(PREDICT, b'{"instances": [[2]]}'),
    post(f"{PREDICT}?x", b'{"instances": [[3]]}'),
    post(PREDICT, b'{"instances": [[4]]}'),
]
LIVE, BAD = b'{"live":true}', b"not valid JSON"
ANSWERS = [b"[[2.0]]", LIVE, BAD, b"[[4.0]]", b"[[6.0]]", b"[[8.0]]"]


@pytest.mark.parametrize("shut", [False, True])
def test_pipelined_requests_are_answered_in_order(shut: bool) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = shut
        peer = await connect()
        await peer.send(b"".join(STREAM))
        await asyncio.sleep(0.05)
        server.device.open()
        for expected in ANSWERS:
            assert expected in (await peer.answer())[1]
        await peer.send(STREAM[0])  # and it goes on
        assert ANSWERS[0] in (await peer.answer())[1]

    serve(test)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 700), max_size=30))
def test_answers_do_not_depend_on_where_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(STREAM)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(*[stream[a:b] for a, b in pairwise(bounds)])
        for expected in ANSWERS:
            assert expected in (await peer.answer())[1]

    serve(test)


def test_who_leaves_is_not_computed() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.depth = 0  # nothing starts
        queued, arriving, stays = await connect(), await connect(), await connect()
        await queued.send(post(PREDICT, b'{"instances": [[1], [2], [3]]}'))
        await arriving.send(post(PREDICT, b'{"instances": [[1], [2], [3]]}')[:-5])
        await stays.send(post(PREDICT, b'{"instances": [[4]]}'))
        queued.writer.transport.abort()
        arriving.writer.close()
        await server.later_until(lambda: server.answered(499) == 2)
        server.device.depth = 1
        await stays.send(post(PREDICT, b'{"instances": [[5]]}'))  # wakes the queue too
        await (await connect()).send(post(PREDICT, b'{"instances": [[6]]}'))
        assert b"[[8.0]]" in (await stays.answer())[1]
        assert b"[[10.0]]" in (await stays.answer())[1]
        assert server.executor.rows == 3

    serve(test)


def test_who_sends_no_more_gets_the_answers_that_are_owed() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(post(PREDICT, ROW))
        peer.writer.write_eof()
        assert await peer.status() == DONE
        assert await peer.ended()
        server.device.shut = True
        peer = await connect()
        await peer.send(STREAM[0] * 3)
        peer.writer.write_eof()
        await asyncio.sleep(0.05)
        server.device.open()
        for _ in range(3):
            assert await peer.status() == DONE
        assert await peer.ended()
        server.device.shut = True
        peer = await connect()
        await peer.send(post(PREDICT, ROW))
        peer.writer.write_eof()
        await asyncio.sleep(0.05)
        server.later(2)
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        server.later(2)
        server.device.open()
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await peer.status() == DONE

    serve(test)


def test_a_deadline_that_passes_is_told() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        peer = await connect()
        await peer.send(post(PREDICT, ROW))
        status, message = await peer.error()
        assert (status, message) == (504, "no answer within 0.2 seconds")
        server.device.open()
        await peer.send(post(PREDICT, ROW))
        assert await peer.status() == DONE

    serve(test, timeout=0.2)


def test_inputs_of_callers_that_left_are_freed_while_the_device_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[weakref.ref[Any]] = []
    submit = Batcher.submit

    def noted(self: Batcher, inputs: Any, answer: Any) -> Any:
        kept.extend(map(weakref.ref, inputs))
        return submit(self, inputs, answer)

    monkeypatch.setattr(Batcher, "submit", noted)

    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        server.device.depth = 1
        stays = await connect()
        await stays.send(post(PREDICT, ROW))
        await until(lambda: bool(kept))
        for count in range(2, 12):
            peer = await connect()
            await peer.send(post(OIP, RAW, RAW_HEADER))
            await until(lambda count=count: len(kept) == count)  # type: ignore[misc]
            peer.writer.transport.abort()
        await server.later_until(lambda: not [ref for ref in kept[1:] if ref() is not None])
        server.device.open()
        assert await stays.status() == DONE

    serve(test)


def test_the_access_log_and_traces_see_every_request() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        stream = io.BytesIO()
        server.service.access_log = AccessLog(stream)
        peer = await connect()
        trace = f"traceparent: 00-{'a' * 32}-{'b' * 16}-01\r\n"
        await peer.send(post(OIP, oip([[1]], id="one"), trace))
        head, body = await peer.answer()
        assert re.search(rb"\r\ntraceparent: 00-a{32}-[0-9a-f]{16}-01\r\n", head)
        assert b"b" * 16 not in head
        await peer.send(post(OIP, b"nothing"))
        await peer.answer()
        await until(lambda: stream.getvalue().count(b"\n") == 2)
        first, second = map(json.loads, stream.getvalue().splitlines())
        assert (first["status"], first["request_id"], first["bytes"]) == (200, "one", len(body))
        assert (first["trace_id"], first["path"], first["protocol"]) == ("a" * 32, OIP, "oip-rest")
        assert (second["status"], second["client"]) == (400, "127.0.0.1")

    serve(test)


@pytest.mark.parametrize("how", ["draining", "shutdown"])
def test_a_worker_that_ends_closes_connections_after_their_answer(how: str) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        server.device.shut = True
        peer, idle = await connect(), await connect()
        await peer.send(post(PREDICT, ROW))
        if how == "draining":
            server.service.phase = Phase.DRAINING
        else:
            server.http.connections.end()
            assert await idle.ended()
        server.device.open()
        head, body = await peer.answer()
        assert b"connection: close\r\n\r\n" in head
        assert body == b'{"predictions":[[2.0]]}'
        assert await peer.ended()

    serve(test)


def test_a_reader_that_falls_behind_is_answered_no_further_before_it_reads() -> None:
    long = post(PREDICT, json.dumps({"instances": [[1.25] * 100_000]}).encode())

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        peer.reader._transport.pause_reading()
        peer.writer.write(long * 60)
        before = -1.0
        while server.answered(200) > before:
            before = server.answered(200)
            await asyncio.sleep(0.3)
        assert 0 < before < 50
        peer.reader._transport.resume_reading()
        for _ in range(60):
            head, body = await peer.answer()
            assert head.startswith(b"HTTP/1.1 200")
            assert len(json.loads(body)["predictions"][0]) == 100_000

    serve(test)


# bodies


def test_a_body_in_parts_is_counted_while_it_arrives() -> None:
    body = json.dumps({"instances": [[1.5] * 1000]}).encode()

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        request = post(PREDICT, body)
        await peer.send(request[:2000], request[2000:3000])
        head = len(request) - len(body)
        await until(lambda: server.bodies.held == 3000 - head)
        await peer.send(request[3000:])
        assert json.loads((await peer.answer())[1])["predictions"] == [[3.0] * 1000]

    serve(test)


@pytest.mark.parametrize(
    "head",
    [
        "Transfer-Encoding: chunked",
        "Content-Length: 9",
        "Content-Length: 9\r\nContent-Encoding: gzip",
        "Content-Length: 9\r\nConnection: close",
        "Content-Length: 900000",
    ],
)
@pytest.mark.parametrize("sent", [0, 5])
def test_a_body_that_does_not_come_is_not_waited_for_for_ever(head: str, sent: int) -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(f"{START}{head}\r\n\r\n".encode() + ROW[:sent] * ("chunked" not in head))
        server.later(0.2)
        assert server.service.in_flight == 1
        server.later(0.4)
        status, message = await peer.error()
        assert (status, message) == (408, "the body did not arrive within 0.3 seconds")
        assert server.answered(408) == 1
        assert len(server.connections) == 1  # its sender may go on for a while
        server.later(3)
        await until(lambda: not server.connections)

    serve(test, timeout=0.3)


def test_bodies_above_the_budget_are_refused() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        for head in ("Content-Length: 900000", "Transfer-Encoding: chunked"):
            peer = await connect()
            chunked = "chunked" in head
            await peer.send(f"{START}{head}\r\n\r\n".encode() + b"ffffff\r\n" * chunked)
            await peer.send(*([b" " * 60_000] * 3))
            assert (await peer.answer())[0].startswith(b"HTTP/1.1 429")
            assert server.bodies.held == 0

    serve(test, budget=100_000)


VALUES = np.arange(200_000, dtype=FLOAT).reshape(2, 100_000)
DOUBLED = (2 * VALUES).tobytes()


def large() -> bytes:
    body, header = raw_body(VALUES)
    return post(OIP, body, header)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(large())), max_size=8))
def test_answers_do_not_depend_on_where_a_large_body_is_cut(cuts: list[int]) -> None:
    stream = large() + STREAM[1] + large()
    bounds = [0, *sorted(set(cuts)), len(stream)]

    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(*(stream[a:b] for a, b in pairwise(bounds)))
        assert (await peer.answer())[1].endswith(DOUBLED)
        assert (await peer.answer())[1] == LIVE
        assert (await peer.answer())[1].endswith(DOUBLED)

    serve(test)


def test_a_large_body_is_counted_while_it_arrives_and_forgotten_when_its_caller_leaves() -> None:
    async def test(server: ServerFixture, connect: Any) -> None:
        peer = await connect()
        await peer.send(large()[:5000], large()[5000:90_000])
        await until(lambda: server.bodies.held > 80_000)
        peer.writer.close()
        await until(lambda: server.bodies.held == 0)
        assert server.answered(499) == 1

    serve(test)


@pytest.mark.parametrize("length", range(100, 117))
def test_raw_tensors_of_a_large_body_are_aligned_and_not_copied_again(length: int) -> None:
    from modelpress.serving.exchange import Budget
    from modelpress.serving.http.bodies import ArrivingBody

    body = ArrivingBody(Budget(2**20, 2**20, 1))
    body.add(b"x" * 10)
    assert body.buffer(length + 2**17, length)
    assert body.grow(len(body.space()))
    array = np.frombuffer(body.take(raw=True)[length:], FLOAT)
    assert array.flags.aligned
    assert array.flags.writeable  # else LiteRT copies it
    assert len(array) == 2**15
