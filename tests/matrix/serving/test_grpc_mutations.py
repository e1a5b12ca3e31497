"""Mutated and slow gRPC connections against a real worker process, while clients of grpcio are served."""

import asyncio
import random
import struct
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import hpack

from modelpress.serving.executors.litert import LiteRTExecutor
from tests.support.serving import grpc_frames as frames
from tests.support.serving.artifacts import Worker
from tests.support.serving.flood import ask, assert_others_served, flood, slow_send
from tests.support.serving.grpc_client import Client, images, output, until
from tests.support.serving.grpc_mutations import hostile, well_formed

COUNT = 10_000
SLOW = 200
FAULT = b"internal error"  # what is told of one of ours; grpcio has words of its own for what is no HTTP/2


def outcome(data: bytes) -> list[str]:
    """Return what a server's bytes say: statuses, resets and goodbyes. Whatever is no frame is an error."""
    found, decoder = [], hpack.Decoder()
    while len(data) >= frames.HEADER.size:
        high, low, kind, _, stream = frames.HEADER.unpack_from(data)
        size = frames.HEADER.size + (high << 8 | low)
        payload, data = data[frames.HEADER.size : size], data[size:]
        assert kind in range(10), kind
        if kind == frames.HEADERS and len(payload) == size - frames.HEADER.size:
            fields = dict(decoder.decode(payload, raw=True))
            assert fields.get(b"grpc-message") != FAULT
            found += [f"status {fields[b'grpc-status'].decode()}"] if b"grpc-status" in fields else []
        elif kind in (frames.GOAWAY, frames.RST_STREAM):
            code = struct.unpack(">I", payload[4:8] if kind == frames.GOAWAY else payload)[0]
            found.append(f"{'goaway' if kind == frames.GOAWAY else 'reset'} {code}")
            assert (stream == 0) == (kind == frames.GOAWAY)
    return found


async def slow_connection(host: str, port: int, number: int, stop: asyncio.Event) -> None:
    """Send a connection byte by byte from some place on."""
    data = hostile(10 * number + 9)
    first = (0, 24, 40, 150)[number % 4]
    await slow_send((host, port), data, first, stop)


async def mutated(address: str, numbers: range) -> Counter[str]:
    """Send the mutated connections, beside slow ones; returns how often each outcome came."""
    host, _, text = address.partition(":")
    port, found = int(text), Counter[str]()

    async def send(number: int) -> None:
        data = await ask(host, port, hostile(number))
        try:
            found.update(outcome(data))
        except Exception as error:
            raise AssertionError(f"connection {number}") from error

    await flood(numbers, send, [partial(slow_connection, host, port, number) for number in range(SLOW)])
    return found


def test_mutated_and_slow_connections_harm_nobody(flooded: Worker, models: Path) -> None:
    array = images(3)
    expected = LiteRTExecutor(models / "seed-int8.tflite").run([array])[0].tobytes()

    def others(stop: threading.Event) -> int:
        count = 0
        kept = Client(flooded.grpc)
        while not stop.is_set():
            client = kept if count % 2 else Client(flooded.grpc)  # kept and new connections in turn
            assert output(client.infer(array)) == expected
            if client is not kept:
                client.channel.close()
            count += 1
        kept.channel.close()
        return count

    found = assert_others_served(flooded, COUNT, partial(mutated, flooded.grpc), others)
    assert {"status 0", "status 3", "status 12", "goaway 1"} <= set(found)  # 1: against the rules of HTTP/2
    until(lambda: flooded.metric("modelpress_in_flight") == 0)
    assert flooded.metric("modelpress_queue_rows") == 0


def test_outcomes_are_read_as_they_are_sent(flooded: Worker) -> None:
    host, _, port = flooded.grpc.partition(":")
    found = outcome(asyncio.run(ask(host, int(port), well_formed(random.Random(3)))))
    assert set(found) == {"status 0"}
