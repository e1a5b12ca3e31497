"""Bodies that repeat an earlier one around their numbers: taken the short way, and with the same result."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols import json_repeats, oip_rest, tfserving_rest
from modelpress.serving.protocols.base import InferenceProtocol, Model
from modelpress.serving.protocols.json_numbers import read_nested
from modelpress.serving.protocols.json_tensors import decode_object
from modelpress.serving.protocols.oip_rest import OipRest
from modelpress.serving.protocols.tfserving_rest import TfServingRest
from modelpress.serving.signature import Signature, Tensor

WIDTH = 5
MIN_WIDTH = json_repeats._MIN_WIDTH
NAMES = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "int8": "INT8", "bool": "BOOL"}


@pytest.fixture(autouse=True, scope="module")
def narrow() -> Iterator[None]:
    """Let several lists be known however few numbers are in each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_repeats, "_MIN_WIDTH", 1)
        yield


def model(dtype: str = "float32", shape: tuple[int, ...] = (-1, WIDTH), inputs: int = 1) -> Model:
    tensors = tuple(
        Tensor(f"x{number}" if number else "x", shape, np.dtype(dtype)) for number in range(inputs)
    )
    return Model("m", "m-1", "sha256:0", Signature(tensors, tensors))


def oip(array: str, dtype: str = "float32", more: str = "", rows: int = 1) -> str:
    shape = f'"shape": [{rows}, {WIDTH}]'
    return f'{{"inputs": [{{"name": "x", "datatype": "{NAMES[dtype]}", {shape}, "data": {array}}}]{more}}}'


def bodies(array: str, dtype: str = "float32") -> list[tuple[type[InferenceProtocol], str]]:
    """Return bodies that hold `array`, in forms that clients use."""
    flat = oip(array, dtype)
    wanted = oip(array, dtype, ', "outputs": [{"name": "x", "parameters": {"binary_data": true}}]')
    data_first = (
        f'{{"inputs":[{{"data":{array},"shape":[1,{WIDTH}],"datatype":"{NAMES[dtype]}","name":"x"}}]}}'
    )
    return [
        *((OipRest, text) for text in (flat, wanted, data_first, oip(f"[{array}]", dtype))),
        (TfServingRest, f'{{"instances": [{array}]}}'),
        (TfServingRest, f'{{"signature_name": "serving_default", "inputs": [ {array} ]}}'),
        (TfServingRest, f'{{"instances": [{array}, {array} , {array}]}}'),
        (OipRest, oip(f"[{array}, {array}]", dtype, rows=2)),
    ]


def outcome(protocol: InferenceProtocol, body: bytes) -> Any:
    try:
        call = protocol.decode(body)
    except BadRequest as error:
        return error.message
    return [(array.dtype, array.shape, array.tobytes()) for array in call.inputs], call.context, call.id


NUMBERS = ("-0", "0e5", "1E400", "-1e-400", "1.", "01", "+1", "NaN", "3.4028235e38", "3.4028236e38", "65520")
OTHERS = ("true", "false", "null", '"1"', "{}", "[]", "[1]", '"]"', '"[1,2]"', "1]", "[1", "]], [[1", "", " ")
MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"  # of byte order: simdjson skips one where its text begins
AHEAD = st.sampled_from(["", "", " ", MARK])
LEAVES = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from([*NUMBERS, *OTHERS]),
)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(NAMES)), st.data())
def test_a_body_after_another_gives_the_same_call_or_the_same_message(dtype: str, data: Any) -> None:
    first = "true" if dtype == "bool" else "1"
    leaves = st.lists(LEAVES | st.just(first), min_size=WIDTH - 1, max_size=WIDTH + 1)
    arrays = [f"{data.draw(AHEAD)}[{', '.join(data.draw(leaves))}]" for _ in range(3)]
    known = bodies(f"[{','.join([first] * WIDTH)}]", dtype)
    kind, _ = known[form := data.draw(st.integers(0, len(known) - 1))]
    protocol = kind(model(dtype))
    assert not isinstance(outcome(protocol, known[form][1].encode()), str)
    for array in arrays:
        body = bodies(array, dtype)[form][1].encode()
        assert outcome(protocol, body) == outcome(kind(model(dtype)), body)


PUT = st.one_of(
    st.text('[]{},:" \\1.e-x', max_size=3).map(str.encode),
    st.sampled_from([MARK.encode(), b"\x80", b"\xa0", b"\xff", b"\xff\xfe", "\N{EN SPACE}".encode()]),
    st.binary(max_size=3),
)


@settings(max_examples=600, deadline=None)
@given(st.integers(0, 7), st.data())
def test_a_damaged_body_after_another_gives_the_same_call_or_the_same_message(form: int, data: Any) -> None:
    kind, text = bodies("[1,2.5,3,4,5]")[form]
    protocol = kind(model())  # type: ignore[call-arg]
    protocol.decode(text.encode())
    brackets = [place for place, letter in enumerate(text) if letter in "[]"]
    place = data.draw(st.sampled_from(brackets) | st.integers(0, len(text)))
    put = data.draw(PUT)
    body = text[:place].encode() + put + text[place + data.draw(st.integers(0, 4)) :].encode()
    assert outcome(protocol, body) == outcome(kind(model()), body)  # type: ignore[call-arg]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("form", range(8))
def test_a_byte_order_mark_within_a_body_is_refused_wherever_it_is(form: int, dtype: str) -> None:
    kind, text = bodies("[1,2,3,4,5]", dtype)[form]
    protocol = kind(model(dtype))  # type: ignore[call-arg]
    protocol.decode(text.encode())
    for place in range(len(text) + 1):
        body = f"{text[:place]}{MARK}{text[place:]}".encode()
        expected = outcome(kind(model(dtype)), body)  # type: ignore[call-arg]
        assert outcome(protocol, body) == expected, place
        assert isinstance(expected, str) or text[:place].count('"') % 2, place  # or within a string


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the bodies that are read the long way."""
    seen: list[bytes] = []

    def decode(body: bytes, *more: Any) -> Any:
        seen.append(body)
        return decode_object(body, *more)

    for module in (oip_rest, tfserving_rest):
        monkeypatch.setattr(module, "decode_object", decode)
    return seen


@pytest.mark.parametrize("form", range(8))
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_what_repeats_is_not_read_the_long_way(strict: list[bytes], form: int, dtype: str) -> None:
    values = range(1, WIDTH + 1)
    kind, text = bodies(json.dumps(list(values)), dtype)[form]
    protocol = kind(model(dtype))  # type: ignore[call-arg]
    first = protocol.decode(text.encode())
    for number in range(10):
        _, other = bodies(json.dumps([value + number for value in values]), dtype)[form]
        call = protocol.decode(other.encode())
        assert call.inputs[0].tolist() == (first.inputs[0] + np.array(number, dtype)).tolist()
        assert call.inputs[0].shape == first.inputs[0].shape
        assert call.context == first.context
    assert strict == [text.encode()]


@pytest.mark.parametrize(
    ("served", "kind", "body"),
    [
        (model(), OipRest, oip("[1,2,3,4,5]", more=', "id": "one"')),
        (model(), OipRest, oip("[1,2,3,4,5]", more=" " * 2000)),
        (model(), TfServingRest, json.dumps({"instances": [[1] * WIDTH] * 1024})),
        (model(), TfServingRest, '{"instances": [{"x": [1,2,3,4,5]}]}'),
        (model(), TfServingRest, '{"inputs": {"x": [[1,2,3,4,5]]}}'),
        (model(), TfServingRest, '{"x": {"instances": [1]}, "instances": [[1,2,3,4,5]]}'),
        (model(), TfServingRest, '{"instances": [[5]], "instances": [[1,2,3,4,5]]}'),
        (model(shape=(-1, -1)), TfServingRest, '{"instances": [[1,2,3,4,5]]}'),
        (model(shape=(-1,)), TfServingRest, '{"instances": [1,2,3,4,5]}'),
        (model(inputs=2), TfServingRest, '{"inputs": {"x": [[1,2,3,4,5]], "x1": [[1,2,3,4,5]]}}'),
    ],
)
def test_what_says_more_than_its_numbers_is_read_the_long_way(
    strict: list[bytes], served: Model, kind: type[InferenceProtocol], body: str
) -> None:
    protocol = kind(served)  # type: ignore[call-arg]
    for _ in range(20):
        protocol.decode(body.encode())
    assert len(strict) == 20


def test_few_texts_are_kept_and_a_client_that_never_repeats_keeps_none_away(strict: list[bytes]) -> None:
    protocol = OipRest(model())
    for number in range(500):
        protocol.decode(oip("[1,2,3,4,5]", more=f', "x": {number}').encode())
    assert len(protocol._repeats._known) == 8
    strict.clear()
    for _ in range(40):
        protocol.decode(oip("[1,2,3,4,5]").encode())
    assert 0 < len(strict) <= 16


@pytest.mark.parametrize(
    "turns",
    [
        [oip("[1,2,3,4,5]"), oip("[[1,2,3,4,5]]")],
        [oip("[1,2,3,4,5]", more=', "x": 1'), oip("[1,2,3,4,5]")],
        ['{"instances": [[1,2,3,4,5],[1,2,3,4,5]]}', '{"instances": [[1,2,3,4,5]]}'],
        [json.dumps({"instances": [[1] * WIDTH] * rows}) for rows in (3, 2)],
    ],
)
def test_two_kinds_of_bodies_that_take_turns_are_both_known(strict: list[bytes], turns: list[str]) -> None:
    protocol: Any = (OipRest if "data" in turns[0] else TfServingRest)(model())
    for _ in range(50):
        for body in turns:
            protocol.decode(body.encode())
    known = [(one.before, one.after, one.nested) for one in protocol._repeats._known]
    assert len(known) == len(set(known))
    assert strict.count(turns[1].encode()) <= 20


def test_a_text_that_is_met_all_the_time_stays(strict: list[bytes]) -> None:
    protocol = TfServingRest(model())
    usual = b'{"instances": [[1,2,3,4,5]]}'
    for rows in range(2, 900):
        protocol.decode(usual)
        protocol.decode(json.dumps({"instances": [[1] * WIDTH] * rows}).encode())
    assert strict.count(usual) == 1
    assert len(protocol._repeats._known) == 8


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_lists_of_another_shape_are_refused_as_if_nothing_were_known(dtype: str) -> None:
    known = TfServingRest(model(dtype, (-1, 2)))
    known.decode(b'{"instances": [[1,2],[3,4]]}')
    for array in ("[[[1,2,3,4]]]", "[[[1],2],3,4]", "[[1,2,3],[4]]", "[[1,2],[3,[4]]]", "[[1],[2],[3],[4]]"):
        body = f'{{"instances": {array}}}'.encode()
        assert isinstance(expected := outcome(TfServingRest(model(dtype, (-1, 2))), body), str)
        assert outcome(known, body) == expected


@pytest.mark.parametrize(("width", "known"), [(127, False), (128, True)])
def test_several_lists_are_known_where_there_is_much_in_each(
    strict: list[bytes], monkeypatch: pytest.MonkeyPatch, width: int, known: bool
) -> None:
    monkeypatch.setattr(json_repeats, "_MIN_WIDTH", MIN_WIDTH)
    protocol = TfServingRest(model(shape=(-1, width)))
    body = json.dumps({"instances": [[0.5] * width] * 100}).encode()
    for _ in range(3):
        protocol.decode(body)
    assert len(strict) == (1 if known else 3)


def test_lists_of_numbers_are_read_in_their_shape() -> None:
    pytest.importorskip("simdjson")
    for text, shape in (
        (b"[1, 2.5, -3e2]", (3,)),
        (b"[[1], [2.5 ], [-3e2]]", (3, 1)),
        (b"[ [ [1, 2.5, -3e2] ] ] ", (1, 1, 3)),
    ):
        found = read_nested(text, shape)
        assert found is not None
        assert found.tolist() == [1, 2.5, -300]
    for text in (b"[1, true]", b'["1"]', b"[1, null]", b"[1, {}]", b"[1, 2, 3]", b"{}", b"1", b"", b"[1] 2"):
        assert read_nested(text, (2,)) is None, text
    for text in (f"{MARK}[1,2]".encode(), b" [1,2]", f"[1,2]{MARK}".encode(), f"[{MARK}1,2]".encode()):
        assert read_nested(text, (2,)) is None, text
    for text in (b"[[1,2],[3]]", b"[[[1,2,3,4]]]", b"[[1,2],3,4]", b'[[1,2],"[3,4]"]', b"[[1,2],[3,1e400]]"):
        assert read_nested(text, (2, 2)) is None, text
