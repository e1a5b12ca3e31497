"""The fast path on real sockets of a real uvicorn server, beside the ASGI application behind it."""

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

from modelpress.serving.access import AccessLog
from modelpress.serving.batching import Batcher
from modelpress.serving.service import Phase
from tests.support.serving.fast_site import FLOAT, OIP, PREDICT, ROW, Site, post, raw_body, serve, until


def oip(values: list[list[float]], **more: Any) -> bytes:
    shape = [len(values), len(values[0])]
    flat = [value for row in values for value in row]
    entry = {"name": "x", "datatype": "FP32", "shape": shape, "data": flat}
    return json.dumps({"inputs": [entry], **more}).encode()


RAW, RAW_HEADER = raw_body(np.array([[1, 2], [3, 4]], FLOAT))
SAME: dict[str, tuple[str, bytes, str]] = {
    "oip": (OIP, oip([[1, 2.5]], id="a"), ""),
    "version": ("/v2/models/double/versions/double-1/infer", oip([[1, 2.5]]), ""),
    "rows": (PREDICT, b'{"instances": [[1, 2], [3, 4]]}', "Connection: keep-alive\r\n"),
    "columns": (PREDICT, b'{"inputs": [[1, 2], [3, 4]]}', ""),
    "raw": (OIP, RAW, RAW_HEADER),
    "wrong raw length": (OIP, RAW[:-1], RAW_HEADER),
    "no JSON": (OIP, b"nothing", ""),
    "empty": (OIP, b"", ""),
    "ragged": (PREDICT, b'{"instances": [[1, 2], [3]]}', ""),
    "too many rows": (PREDICT, json.dumps({"instances": [[1]] * 9000}).encode(), ""),
    "a fault": (PREDICT, b'{"instances": [[-1]]}', ""),
    "short, gzip": (OIP, oip([[1, 2.5]]), "Accept-Encoding: gzip\r\n"),
    "long, gzip": (PREDICT, json.dumps({"instances": [[1.25] * 2000]}).encode(), "Accept-Encoding: gzip\r\n"),
    "long, plain": (PREDICT, json.dumps({"instances": [[1.25] * 9000]}).encode(), ""),
    "very long, deflate": (
        PREDICT,
        json.dumps({"instances": [[1.25] * 20000]}).encode(),
        "Accept-Encoding: deflate\r\n",
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_answers_are_the_application_s_to_the_byte(case: str) -> None:
    path, body, headers = SAME[case]

    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(post(path, body, headers))
        fast = await peer.answer()
        await peer.send(post(path, body, headers))  # its head is known now
        assert await peer.answer() == fast
        assert site.seen == []
        await peer.send(post(f"{path}?x", body, headers))
        assert await peer.answer() == fast
        assert site.seen == [path]

    serve(test)


def test_answers_are_right() -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(post(OIP, oip([[1, 2.5]], id="a")))
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
        assert site.seen == []
        assert site.answered(200) == 2

    serve(test)


CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROW), ROW)
DECLINED: dict[str, tuple[bytes, bytes]] = {
    "chunked": (
        f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + CHUNKS,
        b"200",
    ),
    "compressed": (post(PREDICT, ROW, "Content-Encoding: gzip\r\n"), b"400"),
    "HTTP/1.0": (post(PREDICT, ROW, version="1.0"), b"200"),
    "close": (post(PREDICT, ROW, "Connection: close\r\n"), b"200"),
    "too large": (f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n".encode(), b"413"),
    "no length": (f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"400"),
    "a length that is none": (post(PREDICT, ROW, "Inference-Header-Content-Length: -1\r\n"), b"400"),
    "GET": (f"GET {PREDICT} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"405"),
    "another model": (post("/v1/models/other:predict", ROW), b"404"),
    "a page": (b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
    "percent": (post("/v1/models/doubl%65:predict", ROW), b"200"),
}


@pytest.mark.parametrize("case", DECLINED)
def test_what_it_declines_the_application_answers(case: str) -> None:
    request, code = DECLINED[case]

    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(request)
        head, _ = await peer.answer()
        assert head.startswith(b"HTTP/1.1 " + code), head
        assert len(site.seen) == 1

    serve(test)


def test_a_caller_who_waits_for_100_continue_gets_it() -> None:
    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(post(PREDICT, ROW, "Expect: 100-continue\r\n")[: -len(ROW)])
        assert await peer.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(ROW)
        assert (await peer.answer())[1] == b'{"predictions":[[2.0]]}'

    serve(test)


STREAM = [
    post(PREDICT, b'{"instances": [[1]]}'),
    b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    post(PREDICT, b"nothing"),
    post(PREDICT, b'{"instances": [[2]]}'),
    post(f"{PREDICT}?x", b'{"instances": [[3]]}'),
    post(PREDICT, b'{"instances": [[4]]}'),
]
LIVE, BAD = b'{"live":true}', b"not valid JSON"
ANSWERS = [b"[[2.0]]", LIVE, BAD, b"[[4.0]]", b"[[6.0]]", b"[[8.0]]"]


@pytest.mark.parametrize("shut", [False, True])
def test_pipelined_requests_are_answered_in_order(shut: bool) -> None:
    async def test(site: Site, connect: Any) -> None:
        site.device.shut = shut
        peer = await connect()
        await peer.send(b"".join(STREAM))
        await asyncio.sleep(0.05)
        site.device.open()
        for expected in ANSWERS:
            assert expected in (await peer.answer())[1]
        await peer.send(STREAM[0])  # and it goes on
        assert ANSWERS[0] in (await peer.answer())[1]

    serve(test)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 700), max_size=30))
def test_answers_do_not_depend_on_where_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(STREAM)
    bounds = [0, *sorted(set(cuts)), len(stream)]

    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        for parts in (STREAM, [stream[a:b] for a, b in pairwise(bounds)]):  # the second time heads are known
            await peer.send(*parts)
            for expected in ANSWERS:
                assert expected in (await peer.answer())[1]

    serve(test)


def test_a_known_head_counts_only_where_a_request_begins() -> None:
    known = post(PREDICT, ROW)

    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        await peer.send(known)
        assert await peer.answer()
        outer = post(PREDICT, known)
        await peer.send(outer[: -len(known)], known)  # as the body of another
        assert BAD in (await peer.answer())[1]
        assert site.answered(200) == 1
        peer = await connect()
        await peer.send(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n".encode(), known)  # as a header
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 400")
        assert site.answered(200) == 1
        assert site.seen == []

    serve(test)


def test_who_leaves_is_not_computed() -> None:
    async def test(site: Site, connect: Any) -> None:
        site.device.depth = 0  # nothing starts
        queued, arriving, stays = await connect(), await connect(), await connect()
        await queued.send(post(PREDICT, b'{"instances": [[1], [2], [3]]}'))
        await arriving.send(post(PREDICT, b'{"instances": [[1], [2], [3]]}')[:-5])
        await stays.send(post(PREDICT, b'{"instances": [[4]]}'))
        queued.writer.close()
        arriving.writer.close()
        await until(lambda: site.answered(499) == 2)
        site.device.depth = 1
        await stays.send(post("/v1/models/double:predict", b'{"instances": [[5]]}'))  # wakes the queue too
        await (await connect()).send(post(PREDICT, b'{"instances": [[6]]}'))
        assert b"[[8.0]]" in (await stays.answer())[1]
        assert b"[[10.0]]" in (await stays.answer())[1]
        assert site.executor.rows == 3

    serve(test)


def test_a_deadline_that_passes_is_told() -> None:
    async def test(site: Site, connect: Any) -> None:
        site.device.shut = True
        peer = await connect()
        await peer.send(post(PREDICT, ROW))
        head, body = await peer.answer()
        assert head.startswith(b"HTTP/1.1 504")
        assert b"no answer within" in body
        site.device.open()
        await peer.send(post(PREDICT, ROW))
        assert (await peer.answer())[0].startswith(b"HTTP/1.1 200")

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

    async def test(site: Site, connect: Any) -> None:
        site.device.shut = True
        site.device.depth = 1
        stays = await connect()
        await stays.send(post(PREDICT, ROW))
        await until(lambda: bool(kept))
        for count in range(2, 12):
            peer = await connect()
            await peer.send(post(OIP, RAW, RAW_HEADER))
            await until(lambda count=count: len(kept) == count)  # type: ignore[misc]
            peer.writer.close()
        await until(lambda: not [ref for ref in kept[1:] if ref() is not None])
        site.device.open()
        assert (await stays.answer())[0].startswith(b"HTTP/1.1 200")

    serve(test)


def test_the_access_log_and_traces_see_every_request() -> None:
    async def test(site: Site, connect: Any) -> None:
        stream = io.BytesIO()
        site.service.access_log = AccessLog(stream)
        peer = await connect()
        trace = f"traceparent: 00-{'a' * 32}-{'b' * 16}-01\r\n"
        await peer.send(post(OIP, oip([[1]], id="one"), trace))
        head, body = await peer.answer()
        assert re.search(rb"\r\ntraceparent: 00-a{32}-[0-9a-f]{16}-01\r\n", head)
        assert b"b" * 16 not in head
        await peer.send(post(OIP, b"nothing"))
        await peer.answer()
        first, second = map(json.loads, stream.getvalue().splitlines())
        assert (first["status"], first["request_id"], first["bytes"]) == (200, "one", len(body))
        assert (first["trace_id"], first["path"], first["protocol"]) == ("a" * 32, OIP, "oip-rest")
        assert (second["status"], second["client"]) == (400, "127.0.0.1")
        assert site.seen == []

    serve(test)


@pytest.mark.parametrize("how", ["draining", "shutdown"])
def test_a_worker_that_ends_closes_connections_after_their_answer(how: str) -> None:
    async def test(site: Site, connect: Any) -> None:
        site.device.shut = True
        peer, idle = await connect(), await connect()
        await peer.send(post(PREDICT, ROW))
        if how == "draining":
            site.service.phase = Phase.DRAINING
        else:
            for connection in list(site.server.server_state.connections):
                connection.shutdown()
            assert await idle.ended()
        site.device.open()
        head, body = await peer.answer()
        assert b"connection: close\r\n\r\n" in head
        assert body == b'{"predictions":[[2.0]]}'
        assert await peer.ended()

    serve(test)


def test_a_reader_that_falls_behind_is_answered_by_the_application() -> None:
    """It waits until the reader has caught up; answers would pile up here."""
    long = post(PREDICT, json.dumps({"instances": [[1.25] * 100_000]}).encode())

    async def test(site: Site, connect: Any) -> None:
        peer = await connect()
        for _ in range(60):
            if site.seen:
                break
            await peer.send(long)
        assert site.seen
        for _ in range(1 + int(site.answered(200))):
            head, body = await peer.answer()
            assert head.startswith(b"HTTP/1.1 200")
            assert len(json.loads(body)["predictions"][0]) == 100_000

    serve(test)
