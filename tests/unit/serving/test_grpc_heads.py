"""Header blocks, heads and statuses of gRPC, without a connection."""

import random

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving import errors
from modelpress.serving.errors import RequestError
from modelpress.serving.protocols.grpc import head as heads
from modelpress.serving.protocols.grpc.head import read_head
from modelpress.serving.protocols.grpc.headers import BlockReader, block, without_table
from modelpress.serving.protocols.grpc.limits import LIMITS
from modelpress.serving.protocols.grpc.status import Status, code_of, failure, quoted
from tests.support.serving.grpc_site import INFER, Head, head


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 16_000, 2**21])
def test_blocks_say_what_they_are_made_of(size: int) -> None:
    fields = [(b":status", b"200"), (b"x" * max(1, size % 300), b"y" * size), (b"z", b"")]
    decoder = hpack.Decoder(2**22)
    for encoded in (block(fields), without_table(block(fields))):
        assert [tuple(field) for field in decoder.decode(encoded, raw=True)] == fields
    assert decoder.header_table.maxsize == 0


NAMES = st.sampled_from(
    [b"a", b"te", b"grpc-timeout", b"x-1", b":path", b":method", b":scheme", b"content-type"]
)


@given(st.lists(st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=9), max_size=9), st.randoms())
def test_a_reader_says_what_hpack_says(requests: list[Head], dice: random.Random) -> None:
    encoder, plain, reader = hpack.Encoder(), hpack.Decoder(), BlockReader(LIMITS)
    for fields in [dice.choice(requests) for _ in range(30)] if requests else []:
        if dice.random() < 0.1:
            encoder.header_table_size = dice.choice([0, 60, 4096])
        encoded = encoder.encode(fields, huffman=dice.random() < 0.5)
        expected = [(name, value) for name, value in plain.decode(encoded, raw=True)]
        assert expected == fields
        assert reader.head(encoded) == read_head(expected, LIMITS)


def test_equal_blocks_are_read_once() -> None:
    encoder, reader = hpack.Encoder(), BlockReader(LIMITS)
    first = reader.head(encoder.encode(head()))
    again = encoder.encode(head())
    assert reader.head(again) == first
    assert reader.head(again) is reader.head(again)
    for number in range(100):  # others do not push out the table, and are not kept for ever
        literal = again + b"\x00\x01x\x03%03d" % number
        assert reader.head(literal).fields[-1] == (b"x", b"%03d" % number)
    encoder.encode([(b"x", b"new")])
    assert reader.head(again).path == INFER.decode()


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"application/grpc", 200),
        (b"application/grpc+proto", 200),
        (b"application/grpc; charset=utf-8", 200),
        (b"APPLICATION/GRPC", 200),
        (b"application/grpc-web", 415),
        (b"application/grpc+json", 415),
        (b"application/json", 415),
        (b"", 415),
    ],
)
def test_content_types(content_type: bytes, status: int) -> None:
    fields = [(name, content_type if name == b"content-type" else value) for name, value in head()]
    assert read_head(fields, LIMITS).status == status


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"4m", 4e-3),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"000000001S", None),
    ],
)
def test_timeouts(value: bytes, seconds: float | None) -> None:
    found = read_head(head(INFER, (b"grpc-timeout", value)), LIMITS)
    assert found.timeout == pytest.approx(seconds)
    assert (found.error is None) == (seconds is not None)


def test_heads_up_to_the_limits_are_taken() -> None:
    fields = head(INFER, *[(b"x%d" % number, b"") for number in range(94)])
    assert read_head(fields, LIMITS).status == heads.OK
    assert read_head([*fields, (b"y", b"")], LIMITS).status == heads.TOO_MANY_HEADERS
    size = sum(len(name) + len(value) + 32 for name, value in head())
    for more, status in ((0, heads.OK), (1, heads.TOO_MANY_HEADERS)):
        wide = head(INFER, (b"x", b"y" * (16_384 - size - 33 + more)))
        assert read_head(wide, LIMITS).status == status


def test_every_refusal_has_a_code() -> None:
    internal = {errors.WrongMethod, errors.ModelFault}  # the first is of HTTP only
    for kind in RequestError.__subclasses__():
        if kind not in internal:
            assert code_of(kind("x")) is not Status.INTERNAL, kind


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a b~!\"'", b"a b~!\"'"),
        ("50%", b"50%25"),
        ("a\nb\x7f", b"a%0Ab%7F"),
        ("ä€", b"%C3%A4%E2%82%AC"),
        ("\ud800", b"?"),
    ],
)
def test_messages_are_percent_encoded(text: str, sent: bytes) -> None:
    assert quoted(text) == sent


def test_refusals_fit_into_a_frame() -> None:
    assert len(failure(Status.NOT_FOUND, "€" * 10_000, [])) < 2**15
