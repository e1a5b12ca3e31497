"""HTTP/2 below gRPC, seen frame by frame: an independent client (h2) and bytes made by hand."""

import struct

import h2.settings
import hpack
import numpy as np
import pytest

from modelpress.serving.protocols.grpc import frames
from tests.support.serving.grpc_site import (
    INFER,
    LIVE,
    SETTLED,
    Connect,
    Site,
    body,
    head,
    message,
    opening,
    serve,
)

WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
TABLE = h2.settings.SettingCodes.HEADER_TABLE_SIZE
FRAME = h2.settings.SettingCodes.MAX_FRAME_SIZE


def test_an_answer_has_a_head_a_message_and_trailers() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        answer = await peer.answer(peer.call())
        assert answer.head[b":status"] == b"200"
        assert answer.head[b"content-type"] == b"application/grpc"
        assert answer.head[b"grpc-accept-encoding"] == b"identity,gzip,deflate"
        assert answer.trailers == {b"grpc-status": b"0"}
        assert answer.values.tolist() == [3.0] * 3
        assert answer.reset is None

    serve(test)


def test_interleaved_streams_get_their_own_answers() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer()
        streams = [peer.open() for _ in range(20)]
        bodies = {stream: body(message(1 + stream % 5, 3, stream)) for stream in streams}
        for start in range(0, 200, 7):
            for stream in reversed(streams):
                part = bodies[stream][start : start + 7]
                if part:
                    peer.h2.send_data(stream, part, end_stream=start + 7 >= len(bodies[stream]))
                    await peer.flush()
        for stream in streams:
            answer = await peer.answer(stream)
            assert answer.values.tolist() == [2.0 * stream] * 3 * (1 + stream % 5)

    serve(test)


def test_padding_priorities_and_unknown_frames_change_nothing() -> None:
    async def test(site: Site, connect: Connect) -> None:
        block, data = hpack.Encoder().encode(head()), body(message())
        padded = bytes((5,)) + struct.pack(">IB", 7, 200) + block + bytes(5)
        flags = frames.END_HEADERS | frames.PADDED | frames.PRIORITIZED
        raw = await connect.raw(
            SETTLED
            + frames.frame(200, 255, 77, b"what is this")
            + frames.frame(frames.PRIORITY, 0, 99, struct.pack(">IB", 1, 1))
            + frames.frame(frames.HEADERS, flags, 1, padded)
            + frames.frame(frames.DATA, frames.PADDED, 1, bytes((255,)) + data[:9] + bytes(255))
            + frames.frame(frames.DATA, frames.PADDED, 1, bytes((0,)))
            + frames.frame(
                frames.DATA, frames.PADDED | frames.END_STREAM, 1, bytes((3,)) + data[9:] + bytes(3)
            )
        )
        _, _, stream, payload = await raw.next(frames.DATA)
        assert stream == 1
        assert payload[5:].endswith(np.full(3, 3.0, "float32").tobytes())

    serve(test)


@pytest.mark.parametrize("pieces", [1, 2, 63])
def test_a_head_may_come_in_pieces(pieces: int) -> None:
    async def test(site: Site, connect: Connect) -> None:
        block = hpack.Encoder().encode(head(INFER, (b"x", b"y" * 200)), huffman=False)
        size = -(-len(block) // pieces)
        parts = [block[start : start + size] for start in range(0, len(block), size)]
        raw = await connect.raw(SETTLED + opening(1, b"", 0))
        for number, part in enumerate(parts):
            last = frames.END_HEADERS if number == len(parts) - 1 else 0
            for byte in frames.frame(frames.CONTINUATION, last, 1, part):
                raw.writer.write(bytes((byte,)))
            await raw.writer.drain()
        raw.writer.write(frames.frame(frames.DATA, frames.END_STREAM, 1, body(message())))
        assert (await raw.next(frames.DATA))[2] == 1

    serve(test)


def test_heads_are_read_anew_when_the_table_changes() -> None:
    async def test(site: Site, connect: Connect) -> None:
        raw, encoder = await connect.raw(SETTLED), hpack.Encoder()
        paths = [INFER, INFER, b"/nothing", INFER, b"/nothing", INFER]
        for number, path in enumerate(paths * 3):
            stream = 2 * number + 1
            if number == 6:
                encoder.header_table_size = 128
            block = encoder.encode(head(path, *([(b"x", b"%d" % number)] if number % 4 == 1 else [])))
            last = frames.frame(frames.DATA, frames.END_STREAM, stream, body(message()))
            raw.writer.write(opening(stream, block) + last)
            kinds = []
            while True:
                kind, flags, of, _ = await raw.frame()
                kinds += [kind] if of == stream else []
                if of == stream and kind == frames.HEADERS and flags & frames.END_STREAM:
                    break
            assert (frames.DATA in kinds) == (path == INFER)

    serve(test)


def test_a_peer_that_shrinks_our_table_is_told_that_it_is_not_used() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer({TABLE: 0})
        for _ in range(2):
            assert (await peer.answer(peer.call())).status == 0
        peer.h2.update_settings({TABLE: 4096})
        assert (await peer.answer(peer.call(b""))).status == 12

    serve(test)


@pytest.mark.parametrize("window", [0, 1, 7])
def test_an_answer_waits_for_the_windows_of_its_peer(window: int) -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer({WINDOW: window})
        peer.acknowledge = False
        stream, other = peer.call(), peer.call(body(b""), head(LIVE))
        await peer.until(lambda: len(peer.answers[stream].body) == window)
        assert len(peer.answers[other].body) == min(window, 7)
        while not peer.answers[stream].ended:
            peer.h2.increment_flow_control_window(1, stream)
            await peer.flush()
            await peer.more(stream)
        assert max(peer.answers[stream].frames) <= max(window, 1)
        assert peer.answers[stream].values.tolist() == [3.0] * 3
        peer.h2.update_settings({WINDOW: 100})
        assert (await peer.answer(other)).status == 0

    serve(test)


def test_windows_move_with_the_settings_and_may_be_negative() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer({WINDOW: 30})
        peer.acknowledge = False
        stream = peer.call(body(message(2, 50)))
        await peer.until(lambda: len(peer.answers[stream].body) == 30)
        peer.h2.update_settings({WINDOW: 10})  # 20 less than nothing
        peer.h2.increment_flow_control_window(25, stream)
        await peer.until(lambda: len(peer.answers[stream].body) == 35)
        peer.h2.update_settings({WINDOW: 1000})
        answer = await peer.answer(stream)
        assert answer.frames[:2] == [30, 5]
        assert answer.values.tolist() == [3.0] * 100

    serve(test)


def test_the_connections_window_holds_for_all_streams() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer({WINDOW: 2**20})
        peer.acknowledge = False
        streams = [peer.open() for _ in range(4)]
        for stream in streams:
            await peer.upload(stream, body(message(30, 500)))  # 60,000 bytes

        def taken() -> int:
            return sum(len(peer.answers[stream].body) for stream in streams)

        await peer.until(lambda: taken() == 65_535)
        peer.h2.increment_flow_control_window(10_000)
        await peer.until(lambda: taken() == 75_535)
        peer.h2.increment_flow_control_window(2**20)
        for stream in streams:
            assert (await peer.answer(stream)).values.tolist() == [3.0] * 15_000

    serve(test)


@pytest.mark.parametrize(("size", "frame"), [(None, 16_384), (50_000, 50_000)])
def test_a_large_answer_comes_in_frames_of_the_peers_size(size: int | None, frame: int) -> None:
    async def test(site: Site, connect: Connect) -> None:
        settings = {WINDOW: 2**20} | ({FRAME: size} if size else {})
        peer = await connect.peer(settings)
        peer.h2.increment_flow_control_window(2**20)
        stream = peer.open()
        await peer.upload(stream, body(message(100, 1000)))
        answer = await peer.answer(stream)
        assert max(answer.frames) == frame
        assert len(answer.frames) == -(-len(answer.body) // frame)
        assert answer.values.tolist() == [3.0] * 100_000

    serve(test)


def test_a_large_message_is_taken_in_windows() -> None:
    async def test(site: Site, connect: Connect) -> None:
        peer = await connect.peer({WINDOW: 2**24})
        peer.h2.increment_flow_control_window(2**24)
        await peer.until(lambda: peer.h2.remote_settings.initial_window_size == 2**20)
        for _ in range(6):  # more than the window of the connection
            stream = peer.open()
            await peer.upload(stream, body(message(8, 2**15 - 10)))
            assert (await peer.answer(stream)).values.sum() == 3.0 * 8 * (2**15 - 10)

    serve(test)
