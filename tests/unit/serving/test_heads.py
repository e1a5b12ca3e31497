"""Which heads of requests are remembered, and found again."""

import pytest

from modelpress.serving.heads import Head, Heads
from modelpress.serving.protocols.tfserving_rest import TfServingRest
from tests.support.serving.fast_site import MODEL, PREDICT, ROW, post


def head_of(length: int, observed: bool = False) -> Head:
    return Head(TfServingRest(MODEL), length, None, b"", observed)


@pytest.mark.parametrize(
    "data",
    [
        post(PREDICT, ROW),
        post(PREDICT, b"\r\n\r\n"),
        post(PREDICT, b""),
    ],
)
def test_heads_are_found_by_their_bytes(data: bytes) -> None:
    heads, head = Heads(), head_of(len(data) - data.index(b"\r\n\r\n") - 4)
    assert heads.find(data) is None
    heads.keep(data, head.length, head)
    assert heads.find(data) == (head, len(data) - head.length)
    for other in (b"\r\n" + data, data.replace(b"Host", b"host"), b"", b"\r\n\r\n"):
        assert heads.find(other) is None


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"\r\n\r\n" + post(PREDICT, ROW), head_of(len(ROW))),  # the parser skips empty lines
        (post(PREDICT, ROW).replace(b"\r\n", b"\n"), head_of(len(ROW))),
        (post(PREDICT, ROW), head_of(len(ROW) + 1)),
        (post(PREDICT, ROW, "traceparent: 1\r\n"), head_of(len(ROW), observed=True)),
        (post(PREDICT, ROW, f"x: {'y' * 1000}\r\n"), head_of(len(ROW))),
    ],
)
def test_heads_that_are_not_kept(data: bytes, head: Head) -> None:
    heads = Heads()
    heads.keep(data, head.length, head)
    assert heads.find(data) is None


def test_a_bounded_number_of_heads_is_kept() -> None:
    heads = Heads()
    for number in range(5000):
        heads.keep(post(PREDICT, ROW, f"x: {number}\r\n"), len(ROW), head_of(len(ROW)))
    found = [heads.find(post(PREDICT, ROW, f"x: {number}\r\n")) for number in range(5000)]
    assert found[-1] is not None
    assert 0 < len([one for one in found if one]) <= 1024
