"""The reader of protobuf's wire format: it reads what the library reads, and it costs its bytes."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest, RequestError
from modelpress.serving.executors.base import Array
from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc import wire
from modelpress.serving.grpc.oip import OipGrpc
from modelpress.serving.grpc.predict import PredictGrpc
from modelpress.serving.protocols.base import Model
from modelpress.serving.signature import Signature, Tensor

BYTES = 4 * 2**20  # of a bomb
X = Tensor("x", (-1, -1), np.dtype("int64"))
MODEL = Model("m", "r", "d", Signature((X,), (X,)))
OIP, PREDICT = OipGrpc(MODEL), PredictGrpc(MODEL, BYTES)


def field(number: int, data: bytes) -> bytes:
    return wire.packed(number, memoryview(data))


def infer(*entry: bytes) -> bytes:
    """Return a ModelInferRequest with an input of these fields beside its name and type."""
    return field(1, b"m") + field(5, field(1, b"x") + field(2, b"INT64") + b"".join(entry))


def predict(*fields: bytes) -> bytes:
    """Return a PredictRequest with an input of these fields beside its dtype."""
    tensor = b"\x08\x09" + b"".join(fields)
    return field(1, field(1, b"m")) + field(2, field(1, b"x") + field(2, tensor))


ROW = field(3, b"\x01\xff\x01")  # a shape that fits nothing below
BOMBS: dict[str, tuple[OipGrpc | PredictGrpc, bytes]] = {
    "empty inputs": (OIP, field(1, b"m") + field(5, b"") * (BYTES // 2)),
    "empty outputs": (
        OIP,
        infer(field(3, b"\x01\x01"), field(5, field(3, b"\x01"))) + field(6, b"") * (BYTES // 2),
    ),
    "empty raw contents": (OIP, field(1, b"m") + field(7, b"") * (BYTES // 2)),
    "empty parameters": (OIP, field(1, b"m") + field(4, b"") * (BYTES // 2)),
    "empty parameters of an input": (OIP, infer(field(4, b"") * (BYTES // 2))),
    "unknown fields": (OIP, field(1, b"m") + b"\x78\x00" * (BYTES // 2)),
    "a shape of many sizes": (OIP, infer(field(3, b"\x01" * BYTES))),
    "a shape of many sizes, unpacked": (OIP, infer(b"\x18\x01" * (BYTES // 2))),
    "packed numbers of one byte": (OIP, infer(ROW, field(5, field(3, b"\x01" * BYTES)))),
    "unpacked numbers": (OIP, infer(ROW, field(5, b"\x18\x01" * (BYTES // 2)))),
    "unpacked floats": (OIP, infer(ROW, field(5, b"\x35\x00\x00\x00\x00" * (BYTES // 5)))),
    "empty strings": (OIP, infer(ROW, field(5, field(8, b"") * (BYTES // 2)))),
    "contents in pieces": (OIP, infer(ROW, field(5, b"") * (BYTES // 2))),
    "empty entries": (PREDICT, field(2, b"") * (BYTES // 2)),
    "empty dims": (PREDICT, predict(field(2, field(2, b"") * (BYTES // 2)))),
    "empty strings of TensorFlow": (PREDICT, predict(field(8, b"") * (BYTES // 2))),
    "numbers of TensorFlow": (PREDICT, predict(field(10, b"\x01" * BYTES))),
    "unpacked numbers of TensorFlow": (PREDICT, predict(b"\x50\x01" * (BYTES // 2))),
    "empty variants": (PREDICT, predict(field(15, b"") * (BYTES // 2))),
    "an output filter": (PREDICT, field(3, b"") * (BYTES // 2)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_message_costs_no_more_memory_than_its_bytes(name: str) -> None:
    codec, message = BOMBS[name]
    assert BYTES - 16 < len(message) < BYTES + 200
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            codec.decode(message)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * BYTES
    finally:
        tracemalloc.stop()


def test_an_honest_message_of_numbers_costs_its_tensor_and_little_more() -> None:
    rows = BYTES // 64
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="INT64", shape=[rows, 64]).contents.MergeFromString(
        field(3, b"\x01" * BYTES)
    )
    message = request.SerializeToString()
    tracemalloc.start()
    try:
        call = OIP.decode(message)
        assert tracemalloc.get_traced_memory()[1] < 2 * 8 * BYTES + BYTES
    finally:
        tracemalloc.stop()
    assert call.inputs[0].shape == (rows, 64)
    assert (call.inputs[0] == 1).all()


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=300))
def test_varints_are_read_as_the_library_writes_them(numbers: list[int]) -> None:
    written = pb.InferTensorContents(uint64_contents=numbers).SerializeToString()
    found = wire.fields(memoryview(written), "it")
    assert not numbers or wire.varints(memoryview(found[0][1]), "it").tolist() == numbers  # type: ignore[arg-type]


def test_varints_are_read_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_BLOCK_BYTES", 13)
    numbers = [
        int(value) for value in np.random.default_rng(0).integers(0, 2**63, 500) >> np.arange(500) % 63
    ]
    (found,) = wire.fields(
        memoryview(pb.InferTensorContents(uint64_contents=numbers).SerializeToString()), "it"
    )
    assert wire.varints(memoryview(found[1]), "it").tolist() == numbers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [b"\x80", b"\xff" * 11 + b"\x01", b"\x01" + b"\x80" * 70_000, b"\x80" * 10 + b"\x01"]
)
def test_what_is_no_varint_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        wire.varints(memoryview(data), "it")


def valid(dice: Any) -> bytes:
    """Return a well-formed request whose numbers, shape and pieces differ."""
    values = dice.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6))
    request = pb.ModelInferRequest(model_name="m", id=dice.draw(st.text(max_size=3)))
    entry = request.inputs.add(name="x", datatype="INT64", shape=[1, len(values)])
    if dice.draw(st.booleans()):
        entry.contents.int64_contents.extend(values)
    else:
        request.raw_input_contents.append(np.array(values).tobytes())
    return bytes(request.SerializeToString())


def by_library(data: bytes) -> Array | None:
    """Return the array in a ModelInferRequest as protobuf's own parser reads it, None where it holds none."""
    try:
        request = pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return None
    (entry,) = request.inputs
    if request.raw_input_contents:
        return np.frombuffer(request.raw_input_contents[0], np.int64).reshape(tuple(entry.shape))
    return np.array(entry.contents.int64_contents, np.int64).reshape(tuple(entry.shape))


@given(st.data())
def test_what_is_accepted_of_mutated_messages_is_what_the_library_reads(data: Any) -> None:
    message = bytearray(valid(data))
    for _ in range(data.draw(st.integers(0, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        call = OIP.decode(bytes(message))
    except RequestError:
        return
    expected = by_library(bytes(message))
    if expected is not None:  # the library also checks strings that nobody reads
        assert call.inputs[0].tobytes() == expected.tobytes()
