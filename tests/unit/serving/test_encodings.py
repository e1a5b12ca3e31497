import contextlib
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest, TooLarge, UnsupportedEncoding
from modelpress.serving.http import encodings
from modelpress.serving.http.encodings import answer_encoding, compress, inflate, request_encoding

LIMIT = 2**22


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(body) + stream.flush()


def digits(size: int) -> bytes:
    """Return text that shrinks as numbers do."""
    return bytes(random.Random(size).choices(b"0123456789,", k=size))


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
    for body in (random.Random(size).randbytes(size), digits(size)):
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


def test_what_expands_more_than_a_hundred_times_is_refused() -> None:
    for encoding, encode in ENCODERS:
        body = encode(bytes(200_000))
        assert 1000 * len(body) > 200_000 > 100 * len(body)
        with pytest.raises(TooLarge, match="expands more than 100 times"):
            inflate(body, encoding, LIMIT)
        assert inflate(encode(bytes(65_536)), encoding, LIMIT) == bytes(65_536)  # little is little


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


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=6))
def test_the_members_of_a_gzip_body_are_joined(parts: list[bytes]) -> None:
    body = b"".join(map(gzip.compress, parts))
    assert inflate(body, "gzip", LIMIT) == inflate(bytearray(body), "gzip", LIMIT) == b"".join(parts)


@pytest.mark.parametrize("size", [63, 64, 65, 127, 128, 129, 65_535, 65_536, 65_537, 2**18 + 1, 1_000_000])
def test_members_of_sizes_around_the_steps(size: int) -> None:
    for part in (random.Random(size).randbytes(size), digits(size)):
        assert inflate(gzip.compress(part) * 3, "gzip", LIMIT) == part * 3
        assert inflate(gzip.compress(b"") + gzip.compress(part, 0), "gzip", LIMIT) == part


def test_all_members_of_a_body_share_the_limit() -> None:
    member = gzip.compress(bytes(400))
    assert len(inflate(member * 5, "gzip", 2000)) == 2000
    with pytest.raises(TooLarge):
        inflate(member * 5, "gzip", 1999)
    bomb = gzip.compress(bytes(100)) + gzip.compress(bytes(2**28))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        inflate(bomb, "gzip", 1_000_000)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert allocated < 4_000_000


def test_members_are_not_copied_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    given_ = 0

    class Stream:
        def __init__(self, bits: int) -> None:
            self._stream = zlib.decompressobj(bits)

        def decompress(self, piece: bytes, most: int) -> bytes:
            nonlocal given_
            given_ += len(piece)
            return self._stream.decompress(piece, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    monkeypatch.setattr(encodings, "zlib", SimpleNamespace(decompressobj=Stream, error=zlib.error))
    for part, count in ((b"", 20_000), (random.Random(0).randbytes(300), 2000)):
        body = gzip.compress(part) * count
        given_ = 0
        assert len(inflate(body, "gzip", LIMIT)) == len(part) * count
        assert given_ < 4 * len(body) + 2**17


def test_what_follows_a_member_and_is_none_is_refused() -> None:
    member = gzip.compress(b"some words, " * 20)
    for more in (b"x", b"\x00", b"\x1f", b"\x1e\x8b", zlib.compress(b"x"), b"\n"):
        for count in (1, 2):
            with pytest.raises(BadRequest, match="the body is not valid gzip: bytes follow its end"):
                inflate(member * count + more, "gzip", LIMIT)
    for end in range(2, len(member)):
        with pytest.raises(BadRequest, match="the body is not valid gzip: it ends too early"):
            inflate(member + member[:end], "gzip", LIMIT)
    with pytest.raises(BadRequest, match=r"the body is not valid gzip$"):
        inflate(member + b"\x1f\x8bxxxx", "gzip", LIMIT)


@pytest.mark.parametrize("encode", [zlib.compress, raw_deflate])
def test_deflate_is_one_stream(encode: Encode) -> None:
    for more in (encode(b"x"), gzip.compress(b"x")):
        with pytest.raises(BadRequest, match="the body is not valid deflate: bytes follow its end"):
            inflate(encode(b"x") + more, "deflate", LIMIT)


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
        (", gzip ,", "gzip"),
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
