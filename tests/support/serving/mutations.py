"""Makes hostile HTTP requests out of well-formed ones; the same seed makes the same requests."""

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

INFER, PREDICT = b"/v2/models/digits/infer", b"/v1/models/digits:predict"
WEIRD: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 2**64, 10**40, 1.5, -0.0, 1e308, "", "x" * 300,
    "\u0000", "\ud7ff\U0010ffff",
    "FP64", "BYTES", [], [[]], [[[1]]], {}, {"a": {}}, [None], ["1"], [1, [2]], [2**53 + 1], [1e-320],
]  # fmt: skip
NUMBERS = [
    b"-1",
    b"0",
    b"1",
    b"007",
    b"+3",
    b"0x10",
    b"1e3",
    b"abc",
    b"",
    b" ",
    b"4294967296",
    b"9" * 18,
    b"9" * 40,
]
HEADERS = [
    b"X: " + b"y" * 9000, b"X: \x00", b"X\x7f: y", b": y", b"X y", b" folded", b"Expect: 100-continue",
    b"Expect: nothing", b"Connection: close", b"Connection: Upgrade\r\nUpgrade: websocket", b"Host: y",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Content-Encoding: br",
    b"Accept-Encoding: gzip",
    b"Accept-Encoding: \xff;q=nan", b"traceparent: 00-" + b"0" * 99, b"tracestate: " + b"a=1," * 99,
    b"X-Request-Id: \xff\xfe", b"Content-Type: application/octet-stream", b"\r\n" * 5, b"X: y\r\n" * 150,
]  # fmt: skip


def post(path: bytes, body: bytes, *headers: bytes, length: bytes | None = None) -> bytes:
    stated = str(len(body)).encode() if length is None else length
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", b"Content-Length: " + stated, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(path: bytes, body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + data + b"0\r\n\r\n"


def oip(rows: int = 2) -> dict[str, Any]:
    tensor = {"name": "images", "datatype": "FP32", "shape": [rows, 64], "data": [0.25] * (64 * rows)}
    return {"id": "a", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}


def binary(rows: int = 2) -> tuple[bytes, bytes]:
    """Return the JSON and the raw tensor of a request in the binary tensor extension."""
    raw = struct.pack("<f", 0.25) * (64 * rows)
    tensor = {
        "name": "images",
        "datatype": "FP32",
        "shape": [rows, 64],
        "parameters": {"binary_data_size": len(raw)},
    }
    return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode(), raw


def with_length(head: bytes, raw: bytes, length: bytes) -> bytes:
    return post(INFER, head + raw, b"Inference-Header-Content-Length: " + length)


def well_formed(dice: random.Random) -> bytes:
    body = json.dumps(oip()).encode()
    head, raw = binary()
    return dice.choice(
        [
            post(INFER, body),
            post(PREDICT, json.dumps({"instances": [[0.5] * 64] * 2}).encode()),
            post(PREDICT, json.dumps({"inputs": [[0.5] * 64]}).encode()),
            with_length(head, raw, str(len(head)).encode()),
            chunked(INFER, body, dice.choice([1, 7, 300])),
            b"GET /v2/models/digits HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ]
    )


def flipped(dice: random.Random) -> bytes:
    data = bytearray(well_formed(dice))
    for _ in range(dice.choice([1, 1, 2, 8, 64])):
        place = dice.randrange(len(data) if dice.random() < 0.5 else min(150, len(data)))
        data[place] = dice.randrange(256)
    return bytes(data)


def cut(dice: random.Random) -> bytes:
    data = well_formed(dice)
    start, stop = sorted(dice.choices(range(len(data)), k=2))
    return dice.choice([data[:stop], data[start:], data[:start] + data[stop:], data + data[start:stop]])


def wrong_length(dice: random.Random) -> bytes:
    body = json.dumps(oip()).encode()
    return post(dice.choice([INFER, PREDICT, b"/v2"]), body, length=dice.choice(NUMBERS))


def header_garbage(dice: random.Random) -> bytes:
    line, _, rest = well_formed(dice).partition(b"\r\n")
    extra = [dice.choice([*HEADERS, dice.randbytes(30)]) for _ in range(dice.choice([1, 1, 3]))]
    line = line if dice.random() < 0.8 else dice.choice([dice.randbytes(40), line[:-3], b"PUT" + line, b""])
    return b"\r\n".join([line, *extra, rest])


def odd_path(dice: random.Random) -> bytes:
    path = dice.choice(
        [
            b"*",
            b"//",
            b"/%00",
            b"/%ff%fe",
            b"/v2/models/",
            b"/v2/models/%2e%2e/infer",
            b"http://[::",
            b"/\xc3\xa9",
            b"/" + b"a" * 20_000,
            b"?",
            b"/v2?" + b"&" * 2000,
            INFER + b"/",
            INFER + b"?x=1",
            b"a:80",
            b"/v1/models/:",
        ]
    )
    method = dice.choice(
        [b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"DELETE", b"PRI", b"X"]
    )
    return (
        method + b" " + path + b" HTTP/" + dice.choice([b"1.1", b"1.0", b"0.9", b"2.0", b"9"]) + b"\r\n\r\n"
    )


def wrong_json(dice: random.Random) -> bytes:
    if dice.random() < 0.2:
        depth = dice.choice([10, 1000, 1100, 100_000])
        deep = dice.choice(
            [b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth]
        )
        return post(
            dice.choice([INFER, PREDICT]), dice.choice([b"%b", b'{"instances": %b}', b'{"inputs":%b}']) % deep
        )
    value: Any = dice.choice([oip(), {"instances": [[0.5] * 64] * 2}, {"inputs": {"images": [[0.5] * 64]}}])
    path = INFER if "id" in value else PREDICT
    for _ in range(dice.choice([1, 1, 2, 4])):
        spoil(value, dice)
    return post(path, json.dumps(value).encode())


def spoil(value: Any, dice: random.Random) -> None:
    """Replace, add or remove something, somewhere inside."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = dice.choice(keys) if keys else None
        inner = value[key] if key is not None else None
        if isinstance(inner, dict | list) and inner and dice.random() < 0.7:
            value = inner
            continue
        weird = copy.deepcopy(dice.choice(WEIRD))
        if isinstance(value, list):
            if key is None or dice.random() < 0.3:
                value.insert(0, weird)
            else:
                value[key] = weird
        elif key is None or dice.random() < 0.2:
            value[dice.choice(["x", "parameters", "signature_name", "outputs", "id"])] = weird
        elif dice.random() < 0.3:
            del value[key]
        else:
            value[key] = weird
        return


def lying_binary(dice: random.Random) -> bytes:
    head, raw = binary()
    if dice.random() < 0.5:
        near = [str(len(head) + step).encode() for step in (-1, 1, len(raw), len(raw) + 1)]
        return with_length(head, raw, dice.choice([*NUMBERS, *near]))
    request = json.loads(head)
    tensor = request["inputs"][0]
    what = dice.choice(["binary_data_size", "shape", "datatype", "parameters", "data"])
    wrong = dice.choice([*WEIRD, 511, 513, [2, 63], [-2, -64], [2**40, 2**40], [2, 64, 0]])
    if what == "binary_data_size":
        tensor["parameters"][what] = wrong
    else:
        tensor[what] = wrong
    head = json.dumps(request).encode()
    return with_length(head, raw[: dice.choice([len(raw), 0, 5])], str(len(head)).encode())


def pipelined(dice: random.Random) -> bytes:
    makers = [well_formed, well_formed, flipped, cut, wrong_json]
    count = dice.choice([2, 3, 10, 300])
    return b"".join(dice.choice(makers)(dice) for _ in range(min(count, 10))) * (30 if count == 300 else 1)


def bad_chunks(dice: random.Random) -> bytes:
    data = chunked(INFER, json.dumps(oip()).encode(), dice.choice([1, 50]))
    head, _, rest = data.partition(b"\r\n\r\n")
    wrong = [
        b"-1\r\n",
        b"g\r\n",
        b"fffffffffffffffff\r\n",
        b"ffffffff\r\nx",
        b"1;" + b"e" * 5000 + b"\r\na\r\n",
        b"0\r\nT: u\r\n",
    ]
    place = dice.randrange(len(rest))
    return head + b"\r\n\r\n" + rest[:place] + dice.choice(wrong) + rest[place:]


def noise(dice: random.Random) -> bytes:
    return dice.choice(
        [dice.randbytes(dice.randrange(1, 2000)), b"\r\n" * 500, b"\x16\x03\x01\x02\x00\x01", b"A" * 70_000]
    )


MAKERS: list[Callable[[random.Random], bytes]] = [
    flipped, cut, wrong_length, header_garbage, odd_path,
    wrong_json, lying_binary, pipelined, bad_chunks, noise,
]  # fmt: skip


def hostile(number: int) -> bytes:
    """Return request `number`: each kind in turn."""
    return MAKERS[number % len(MAKERS)](random.Random(number))
