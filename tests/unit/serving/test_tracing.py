import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.observability.trace import Trace, accept

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def trace(parent: bytes = PARENT, *states: bytes) -> Trace | None:
    return accept(
        {b"host": b"x", b"traceparent": parent} | ({b"tracestate": b", ".join(states)} if states else {})
    )


def test_a_trace_is_passed_on_with_a_span_of_our_own() -> None:
    first, second = trace(PARENT, b"a=1,b=2"), trace()
    assert first is not None
    assert second is not None
    assert first.trace_id == TRACE
    assert len({SPAN, first.span_id, second.span_id}) == 3
    assert first.headers() == [
        (b"traceparent", f"00-{TRACE}-{first.span_id}-01".encode()),
        (b"tracestate", b"a=1,b=2"),
    ]
    assert second.headers() == [(b"traceparent", f"00-{TRACE}-{second.span_id}-01".encode())]


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("fe", False), ("ff", True)])
def test_only_the_flag_that_we_know_is_passed_on(flags: str, sampled: bool) -> None:
    found = trace(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert found is not None
    assert found.headers()[0][1].endswith(b"-01" if sampled else b"-00")


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        PARENT[:-1],
        PARENT + b"0",
        PARENT + b"-00",  # more than version 00 has
        PARENT.upper(),
        PARENT.replace(b"-", b"_"),
        b"ff" + PARENT[2:],
        b"0g" + PARENT[2:],
        b"cc" + PARENT[2:] + b"x",
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        b" " + PARENT,
        PARENT + b"\n",
    ],
)
def test_a_malformed_parent_is_no_trace(parent: bytes) -> None:
    assert trace(parent, b"a=1") is None


def test_no_parent_and_two_parents_are_no_trace() -> None:
    assert accept({}) is None
    assert accept({b"tracestate": b"a=1"}) is None
    assert accept({b"traceparent": PARENT + b", " + PARENT}) is None


def test_later_versions_are_read_as_far_as_we_know_them() -> None:
    for parent in (b"cc" + PARENT[2:], b"cc" + PARENT[2:] + b"-what-comes"):
        found = trace(parent)
        assert found is not None
        assert found.headers()[0][1].startswith(b"00-")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((b"a=1", b"b=2"), b"a=1,b=2"),
        ((b" a=1 ,, b=2\t",), b"a=1,b=2"),
        ((b"fw529a3039@dt=x y",), b"fw529a3039@dt=x y"),
        ((b"a=1,a=2",), None),
        ((b"A=1",), None),
        ((b"a",), None),
        ((b"a=\x01",), None),
        ((b"a=" + b"x" * 256,), b"a=" + b"x" * 256),
        ((b"a=" + b"x" * 257,), None),
        ((b",".join(b"k%d=v" % n for n in range(32)),), b",".join(b"k%d=v" % n for n in range(32))),
        ((b",".join(b"k%d=v" % n for n in range(33)),), None),
        ((), None),
    ],
)
def test_a_bad_state_is_dropped_and_the_trace_kept(states: Any, expected: bytes | None) -> None:
    found = trace(PARENT, *states)
    assert found is not None
    assert found.state == expected


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_whatever_comes_what_goes_out_is_well_formed(parent: bytes, state: bytes) -> None:
    found = accept({b"traceparent": PARENT, b"tracestate": state})
    assert found is not None
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", found.headers()[0][1])
    for _, value in found.headers():
        assert re.fullmatch(rb"[\x20-\x7e]*", value)
    accept({b"traceparent": parent})  # raises nothing
