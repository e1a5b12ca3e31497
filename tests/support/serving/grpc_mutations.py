"""Makes hostile gRPC connections out of well-formed ones; the same seed makes the same bytes."""

import random
import struct
from collections.abc import Callable

import hpack
import numpy as np

from modelpress.serving.grpc import messages as pb
from tests.support.serving import grpc_frames as frames
from tests.support.serving.grpc_frames import INFER, LIVE, SETTLED, WATCH, Head, body, frame, head

Frames = list[bytes]
PATHS = [
    INFER,
    LIVE,
    b"/inference.GRPCInferenceService/ModelMetadata",
    b"/grpc.health.v1.Health/Check",
    WATCH,
    b"/tensorflow.serving.PredictionService/Predict",
    b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    b"/x",
    b"*",
]
NUMBERS = [0, 1, 2, 3, 99, 16_384, 65_535, 2**31 - 1, 2**31, 2**32 - 1]
FIELDS: Head = [
    (b"grpc-timeout", b"1n"), (b"grpc-timeout", b"99999999H"), (b"grpc-timeout", b"x"),
    (b"grpc-encoding", b"gzip"), (b"grpc-encoding", b"br"), (b"content-length", b"7"),
    (b"content-length", b"x"), (b"content-type", b"text/html"), (b":method", b"GET"), (b":path", b"/"),
    (b":x", b""), (b"X", b"y"), (b"x", b"y" * 3000), (b"x", b"\xff\n\0"), (b"", b""), (b"te", b"gzip"),
    (b"connection", b"close"), (b"traceparent", b"00-" + b"0" * 99), (b"tracestate", b"a=1," * 99),
    (b"host", b"\xff"),
]  # fmt: skip


def message(dice: random.Random, spoilt: bool = False) -> bytes:
    rows = dice.choice([1, 1, 2, 30])
    array = np.full((rows, 64), 0.25, "float32")
    request = pb.ModelInferRequest(model_name="digits")
    entry = request.inputs.add(name="images", datatype="FP32", shape=array.shape)
    if dice.random() < 0.7:
        request.raw_input_contents.append(array.tobytes())
    else:
        entry.contents.fp32_contents.extend(array.ravel().tolist())
    data = bytearray(request.SerializeToString())
    for _ in range(dice.choice([1, 1, 4]) if spoilt else 0):
        data[dice.randrange(min(len(data), dice.choice([60, len(data)])))] = dice.randrange(256)
    return bytes(data)


def request(dice: random.Random, stream: int, encoder: hpack.Encoder, spoilt: bool = False) -> Frames:
    """Return the frames of one call, some of them padded or cut in pieces."""
    path = dice.choice([INFER, INFER, INFER, LIVE]) if not spoilt else dice.choice(PATHS)
    extra = [dice.choice(FIELDS) for _ in range(dice.choice([0, 0, 1, 2]))] if spoilt else []
    block = encoder.encode(head(path, *extra), huffman=dice.random() < 0.5)
    data = body(message(dice, spoilt) if path != LIVE else b"")
    if dice.random() < 0.7:
        found = [frame(frames.HEADERS, frames.END_HEADERS, stream, block)]
    else:
        cut = dice.randrange(len(block))
        found = [
            frame(frames.HEADERS, 0, stream, block[:cut]),
            frame(frames.CONTINUATION, frames.END_HEADERS, stream, block[cut:]),
        ]
    size = dice.choice([len(data), len(data), 100, 16_000])
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    for number, piece in enumerate(pieces):
        end = frames.END_STREAM if number == len(pieces) - 1 else 0
        if dice.random() < 0.2 and len(piece) < 16_000:
            padding = dice.randrange(256)
            padded = bytes((padding,)) + piece + bytes(padding)
            found.append(frame(frames.DATA, end | frames.PADDED, stream, padded))
        else:
            found.append(frame(frames.DATA, end, stream, piece))
    return found


def connection(dice: random.Random, spoilt: bool = False) -> Frames:
    """Return the frames of a few calls, after the preface."""
    encoder = hpack.Encoder()
    found: Frames = []
    for stream in range(1, 2 * dice.choice([1, 2, 3, 8]), 2):
        found += request(dice, stream, encoder, spoilt)
        if dice.random() < 0.3:
            found.append(frames.windows(dice.randrange(1, 1000), dice.choice([0, stream])))
    return found


def well_formed(dice: random.Random) -> bytes:
    return SETTLED + b"".join(connection(dice))


def flipped(dice: random.Random) -> bytes:
    data = bytearray(well_formed(dice))
    for _ in range(dice.choice([1, 1, 2, 8, 64])):
        first = 0 if dice.random() < 0.1 else len(SETTLED)
        data[dice.randrange(first, min(len(data), first + dice.choice([40, 300, 10**9])))] = dice.randrange(
            256
        )
    return bytes(data)


def cut(dice: random.Random) -> bytes:
    data = well_formed(dice)
    start, stop = sorted(dice.choices(range(len(data)), k=2))
    return dice.choice([data[:stop], data[:start] + data[stop:], data + data[start:stop], data[start:]])


def shuffled(dice: random.Random) -> bytes:
    """Swap, repeat and drop whole frames."""
    found = connection(dice)
    for _ in range(dice.choice([1, 2, 5])):
        one, other = dice.randrange(len(found)), dice.randrange(len(found))
        found[one], found[other] = found[other], found[one]
        if dice.random() < 0.5:
            found.insert(one, found[other])
        elif len(found) > 1:
            del found[one]
    return SETTLED + b"".join(found)


def relabelled(dice: random.Random) -> bytes:
    """Change kinds, flags, streams and lengths of some frames."""
    found = connection(dice)
    for _ in range(dice.choice([1, 2, 5])):
        place = dice.randrange(len(found))
        data = bytearray(found[place])
        what = dice.choice([3, 3, 4, 4, 8, 8, 7, 5, 2, 1])
        data[what] = dice.choice([dice.randrange(256), dice.randrange(16)])
        found[place] = bytes(data)
    return SETTLED + b"".join(found)


def intruders(dice: random.Random) -> bytes:
    """Put frames of every kind between those of calls."""
    found = connection(dice)
    for _ in range(dice.choice([1, 3, 10])):
        numbers = struct.pack(">II", dice.choice(NUMBERS), dice.choice(NUMBERS))
        payload = dice.choice([b"", numbers[:4], numbers, numbers[2:], dice.randbytes(dice.randrange(40))])
        stream = dice.choice([0, 0, 1, 1, 2, 3, 5, 7, 99])
        intruder = frame(
            dice.choice([*range(11), 255]), dice.choice([0, 0, 1, 4, 5, 8, 32, 255]), stream, payload
        )
        found.insert(dice.randrange(len(found) + 1), intruder)
    return SETTLED + b"".join(found)


def settings(dice: random.Random) -> bytes:
    """Change settings while answers are on their way."""
    found = connection(dice)
    for _ in range(dice.choice([1, 3, 10])):
        pairs = [(dice.randrange(9), dice.choice(NUMBERS)) for _ in range(dice.choice([1, 1, 30]))]
        data = b"".join(struct.pack(">HI", key, value) for key, value in pairs)
        found.insert(dice.randrange(len(found) + 1), frame(frames.SETTINGS, 0, 0, data))
    return SETTLED + b"".join(found)


def spoilt(dice: random.Random) -> bytes:
    """Send wrong heads and wrong messages in right frames."""
    return SETTLED + b"".join(connection(dice, spoilt=True))


def leaving(dice: random.Random) -> bytes:
    """Cancel calls at any moment."""
    found = connection(dice)
    for _ in range(dice.choice([1, 4])):
        place = dice.randrange(len(found) + 1)
        found.insert(place, frames.reset(dice.choice([1, 3, 5])))
    return SETTLED + b"".join(found)


def noise(dice: random.Random) -> bytes:
    return dice.choice(
        [
            dice.randbytes(dice.randrange(1, 2000)),
            frames.PREFACE + dice.randbytes(dice.randrange(1, 2000)),
            SETTLED + dice.randbytes(dice.randrange(1, 2000)),
            b"GET / HTTP/1.1\r\n\r\n",
            frames.PREFACE[: dice.randrange(24)],
        ]
    )


MAKERS: list[Callable[[random.Random], bytes]] = [
    flipped, cut, shuffled, relabelled, intruders, settings, spoilt, leaving, noise, well_formed,
]  # fmt: skip


def hostile(number: int) -> bytes:
    """Return connection `number`: each kind in turn."""
    return MAKERS[number % len(MAKERS)](random.Random(number))
