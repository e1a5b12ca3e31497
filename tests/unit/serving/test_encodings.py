import contextlib
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest, TooLarge, UnsupportedEncoding
from modelpress.serving.protocols.encodings import answer_encoding, compress, inflate, request_encoding

LIMIT = 2**22


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(body) + stream.flush()


Encode = Callable[[bytes], bytes]
ENCODERS: list[tuple[str, Encode]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
]


@given(st.binary(max_size=5000))
def test_what_standard_encoders_write_is_read(body: bytes) -> None:
    for encoding, encode in ENCODERS:
        assert inflate(encode(body), encoding, LIMIT) == body


@given(st.binary(min_size=1, max_size=5000))
def test_standard_decoders_read_what_is_written(body: bytes) -> None:
    assert gzip.decompress(compress(body, "gzip")) == body
    assert zlib.decompress(compress(body, "deflate")) == body


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 2**18, 2**18 + 1, 3_000_000])
def test_sizes_around_the_steps(size: int) -> None:
    for body in (random.Random(size).randbytes(size), b"ab" * (size // 2)):
        for encoding, encode in ENCODERS:
            assert inflate(bytearray(encode(body)), encoding, LIMIT) == body


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS)
def test_a_bomb_is_refused_without_being_expanded(encoding: str, encode: Encode) -> None:
    bomb = encode(bytes(2**28))
    tracemalloc.start()
    with pytest.raises(TooLarge, match="larger than maxRequestBytes, which is 1000000"):
        inflate(bomb, encoding, 1_000_000)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert allocated < 4_000_000


def test_exactly_the_limit_is_accepted() -> None:
    for encoding, encode in ENCODERS:
        assert len(inflate(encode(bytes(1000)), encoding, 1000)) == 1000
        with pytest.raises(TooLarge):
            inflate(encode(bytes(1001)), encoding, 1000)


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS)
def test_what_is_cut_off_or_has_more_behind_it_is_refused(encoding: str, encode: Encode) -> None:
    body = encode(b"some words, " * 20)
    for end in range(len(body)):
        with pytest.raises(BadRequest, match=f"the body is not valid {encoding}"):
            inflate(body[:end], encoding, LIMIT)
    with pytest.raises(BadRequest, match="bytes follow its end"):
        inflate(body + b"x", encoding, LIMIT)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for encoding in ("gzip", "deflate"):
        with contextlib.suppress(BadRequest, TooLarge):
            assert len(inflate(body, encoding, 10_000)) <= 10_000


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
        ("identity", None),
        ("", None),
    ],
)
def test_the_encoding_of_a_request(header: str, encoding: str | None) -> None:
    assert request_encoding(header) == encoding


@pytest.mark.parametrize("header", ["br", "gzip, gzip", "zstd", "gz\nip", "compress"])
def test_an_unknown_encoding_is_refused_by_name(header: str) -> None:
    with pytest.raises(UnsupportedEncoding) as caught:
        request_encoding(header)
    assert caught.value.message == (
        f"content-encoding is {header!r}; accepted are gzip, deflate and identity"
    )


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("gzip;q=0.5, deflate;q=0.1", "gzip"),
        ("*", "gzip"),
        ("*;q=0.1", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=1.0", "gzip"),
        ("GZIP ; Q=0.8", "gzip"),
        ("br", None),
        ("", None),
        (",;,", None),
        ("gzip;q=x", None),
        ("gzip;q=7", None),
        ("gzip;q=nan", None),
    ],
)
def test_the_encoding_of_an_answer(accept: str, encoding: str | None) -> None:
    assert answer_encoding(accept) == encoding


@given(st.text(max_size=30))
def test_any_accept_header_has_an_answer(accept: str) -> None:
    assert answer_encoding(accept) in ("gzip", "deflate", None)
