"""Calls of gRPC over HTTP/2, seen frame by frame: refused, compressed, left, late, logged, drained."""

import asyncio
import gzip
import struct
import zlib

import pytest

from modelpress.serving.access import AccessLog
from modelpress.serving.protocols.grpc import frames
from modelpress.serving.protocols.grpc.frames import Code
from modelpress.serving.service import Phase
from tests.unit.serving.grpc_site import (
    INFER,
    LIVE,
    SETTLED,
    Connect,
    Site,
    body,
    call,
    head,
    message,
    serve,
)
from tests.unit.serving.http_site import MAX_BODY, until
from tests.unit.serving.trace_context import PARENT, TRACE


def test_what_is_no_grpc_request_gets_a_code_of_http() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        plain = [(name, b"text/plain" if name == b"content-type" else value) for name, value in head()]
        get = [(name, b"GET" if name == b":method" else value) for name, value in head()]
        long = head(INFER, *[(b"x%d" % number, b"y") for number in range(100)])
        wide = head(INFER, (b"x", b"y" * 17_000))
        without = [field for field in head() if field[0] != b"content-type"]
        json = [(name, value + b"+json" if name == b"content-type" else value) for name, value in head()]
        for fields, status in (
            (plain, 415),
            (get, 405),
            (long, 431),
            (wide, 431),
            (without, 415),
            (json, 415),
        ):
            answer = await peer.answer(peer.open(fields))
            assert answer.head == {b":status": b"%d" % status, b"content-length": b"0"}
        proto = [(name, value + b"+proto" if name == b"content-type" else value) for name, value in head()]
        assert (await peer.answer(peer.call(fields=proto))).status == 0

    serve(test)


BODIES: dict[str, tuple[bytes, int, str]] = {
    "none": (b"", 12, "the call has no message"),
    "two": (body(message(), message()), 12, "the call has more than one message"),
    "cut": (body(message())[:-1], 3, "the message ends too early"),
    "prefix": (b"\0\0\0", 3, "the message ends too early"),
    "flag": (body(message(), compressed=2), 3, "the first byte of a message must be 0 or 1"),
    "huge": (b"\0\xff\xff\xff\xff", 8, f"the message is larger than maxRequestBytes, which is {MAX_BODY}"),
    "compressed": (
        body(message(), compressed=1),
        12,
        "the message is compressed, but grpc-encoding does not say how",
    ),
    "garbage": (body(b"\xff"), 3, "the request is not a valid ModelInferRequest"),
    "percent": (
        body(message().replace(b"double", b"%\xc3\xa4\n~ ")),
        5,
        "no model '%25%C3%A4\\n~ '; this worker serves 'double'",
    ),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("parts", [1, 40])
def test_a_body_must_be_one_message(name: str, parts: int) -> None:
    data, status, text = BODIES[name]

    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        stream = peer.open()
        for number in range(parts):
            start, stop = (len(data) * place // parts for place in (number, number + 1))
            if start < stop and not peer.answers[stream].ended:
                peer.h2.send_data(stream, data[start:stop])
                await peer.flush()
                await asyncio.sleep(0)
        if not peer.answers[stream].ended:
            peer.h2.end_stream(stream)
        answer = await peer.answer(stream)
        assert (answer.status, answer.text) == (status, text)
        assert (await peer.answer(peer.call())).status == 0

    serve(test)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_compressed_messages(encoding: bytes) -> None:
    pack = gzip.compress if encoding == b"gzip" else zlib.compress
    fields = head(INFER, (b"grpc-encoding", encoding))

    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        for data in (body(pack(message(40, 3)), compressed=1), body(message(40, 3))):
            assert (await peer.answer(peer.call(data, fields))).values.tolist() == [3.0] * 120
        bomb = await peer.answer(peer.call(body(pack(bytes(50 * MAX_BODY)), compressed=1), fields))
        assert bomb.status == 8
        cut = await peer.answer(peer.call(body(pack(message())[:-5], compressed=1), fields))
        assert cut.status == 3
        other = head(INFER, (b"grpc-encoding", b"zstd"))
        answer = await peer.answer(peer.call(body(message(), compressed=1), other))
        assert answer.status == 12
        assert answer.head[b"grpc-accept-encoding"] == b"identity,gzip,deflate"

    serve(test)


def test_an_early_refusal_resets_the_stream_without_error() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        stream = peer.open(head(b"/nothing"))
        answer = await peer.answer(stream)
        await peer.until(lambda: answer.reset is not None)
        assert (answer.status, answer.reset) == (12, Code.NO_ERROR)
        assert answer.text == "no such method: '/nothing'"

    serve(test)


def test_a_caller_that_leaves_is_forgotten() -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut, site.device.depth = True, 1
        first, second = await connect.peer(), await connect.peer()
        for peer in (first, second):
            peer.call()
            await peer.flush()
            await until(lambda: bool(site.device.waiting))
        first.call(body(message(5)))
        await first.flush()
        await until(lambda: site.service.in_flight == 3)
        first.h2.reset_stream(1, Code.CANCEL)
        first.h2.reset_stream(3, Code.CANCEL)
        await first.flush()
        await until(lambda: site.answered(499) == 2)
        second.writer.transport.abort()
        await until(lambda: site.answered(499) == 3)
        site.device.open()
        assert (await first.answer(first.call())).status == 0
        assert site.executor.rows == 2  # what waited in the queue was never computed

    serve(test)


@pytest.mark.parametrize("timeout", [b"20m", b"20000u", b"20000000n", b"0S"])
def test_deadlines_of_callers(timeout: bytes) -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut = True
        peer = await connect.peer()
        answer = await peer.answer(peer.call(fields=head(INFER, (b"grpc-timeout", timeout))))
        assert (answer.status, answer.text) == (4, "the deadline of the call has passed")
        assert site.answered(504) == 1
        later = peer.call(fields=head(INFER, (b"grpc-timeout", b"99999999H")))
        site.device.open()
        assert (await peer.answer(later)).status == 0
        bad = await peer.answer(peer.call(fields=head(INFER, (b"grpc-timeout", b"1 s"))))
        assert (bad.status, bad.text) == (3, "grpc-timeout is '1 s', which is no time")

    serve(test)


def test_calls_are_logged_and_traced(tmp_path_factory: pytest.TempPathFactory) -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        untraced = await peer.answer(peer.call())
        assert b"traceparent" not in untraced.head
        path = tmp_path_factory.mktemp("log") / "access"
        with path.open("wb") as stream:
            site.service.access_log = AccessLog(stream)
            traced = head(
                INFER, (b"traceparent", PARENT.encode()), (b"tracestate", b"a=1"), (b"x-request-id", b"7")
            )
            answer = await peer.answer(peer.call(fields=traced))
            assert answer.head[b"traceparent"].decode().split("-")[1] == TRACE
            assert answer.head[b"tracestate"] == b"a=1"
            failed = await peer.answer(peer.call(b"", traced))
            assert failed.head[b"traceparent"].decode().split("-")[1] == TRACE
            await peer.answer(peer.call(body(b""), head(LIVE)))
            await asyncio.sleep(0.05)
        lines = [line.split(b'"method"')[1] for line in path.read_bytes().splitlines()]
        assert len(lines) == 3
        for line, status, protocol in zip(
            lines, (200, 501, 200), (b'"oip-grpc"', b'"oip-grpc"', b"null"), strict=True
        ):
            assert b'"status":%d' % status in line
            assert b'"protocol":' + protocol in line
            assert b'"client":"127.0.0.1"' in line
        assert INFER in lines[0]
        assert b'"request_id":"7"' in lines[0]
        assert TRACE.encode() in lines[1]
        assert b'"bytes":%d' % (len(answer.body) - 5) in lines[0]

    serve(test)


def goaways(found: list[tuple[int, int, int, bytes]]) -> list[tuple[int, int]]:
    """Return last stream and code of each GOAWAY."""
    return [struct.unpack(">II", payload[:8]) for kind, _, _, payload in found if kind == frames.GOAWAY]


def test_a_draining_worker_sends_its_peers_away_and_answers_what_they_sent() -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut = True
        raw, idle = await connect.raw(SETTLED + call(1)), await connect.raw(SETTLED)
        await until(lambda: site.service.in_flight == 1)
        await idle.next(frames.SETTINGS)
        site.service.phase = Phase.DRAINING
        site.later(0)
        _, _, _, ping = await raw.next(frames.PING)
        raw.writer.write(
            call(3) + frames.frame(frames.PING, frames.ACK, 0, ping)
        )  # it did not know, then it did
        await until(lambda: site.service.in_flight == 2)
        site.later(2)  # the other one says nothing
        assert goaways(await idle.frames()) == [(2**31 - 1, Code.NO_ERROR), (0, Code.NO_ERROR)]
        new = await connect.peer()  # whoever comes is still answered
        stream = new.call()
        await new.flush()
        await until(lambda: site.service.in_flight == 3)
        site.device.open()
        assert (await new.answer(stream)).status == 0
        found = await raw.frames()
        assert goaways(found) == [(3, Code.NO_ERROR)]
        ends = [
            stream for kind, flags, stream, _ in found if kind == frames.HEADERS and flags & frames.END_STREAM
        ]
        assert ends == [1, 3]

    serve(test)


def test_calls_after_the_last_goaway_are_not_begun() -> None:
    async def test(site: Site, connect: Connect) -> None:
        site.device.shut = True
        raw = await connect.raw(SETTLED + call(1))
        await until(lambda: site.service.in_flight == 1)
        stopping = asyncio.create_task(site.stop(30))
        _, _, _, ping = await raw.next(frames.PING)
        raw.writer.write(frames.frame(frames.PING, frames.ACK, 0, ping))
        assert (await raw.next(frames.GOAWAY))[3][:8] == struct.pack(">II", 1, Code.NO_ERROR)
        raw.writer.write(call(3) + frames.window_update(3, 5) + frames.rst_stream(3, Code.CANCEL))
        await asyncio.sleep(0.05)
        assert site.service.in_flight == 1
        site.device.open()
        found = await raw.frames()
        assert {stream for kind, _, stream, _ in found} == {1}
        raw.writer.close()
        await stopping
        assert site.answered(200) == 1

    serve(test)
