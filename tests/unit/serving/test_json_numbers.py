"""The quick way of reading JSON against the strict one: what it takes, it takes with the same result."""

import contextlib
import json
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols import json_numbers, json_tensors
from modelpress.serving.protocols.base import InferenceProtocol, Model
from modelpress.serving.protocols.json_numbers import Numbers, read
from modelpress.serving.protocols.json_tensors import flatten
from modelpress.serving.protocols.oip_rest import OipRest
from modelpress.serving.protocols.tfserving_rest import TfServingRest
from modelpress.serving.signature import Signature, Tensor

pytest.importorskip("simdjson")  # no wheels for Python 3.14: everything takes the strict way there


BLANK = b" " * 2048  # makes a body long enough for the quick way
ROW = ",".join(f"{number}.5" for number in range(20))


def model(dtype: str) -> Model:
    inputs = (Tensor("x", (-1, -1), np.dtype(dtype)),)
    return Model("m", "m-1", "sha256:0", Signature(inputs, inputs))


def plain(value: Any) -> Any:
    """Return `value` with lists of floats in place of Numbers."""
    if type(value) is Numbers:
        return value.values.reshape(value.shape).tolist()
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if type(value) is list else value


# integers beyond 64 bits, numbers that round, overflow or vanish, and every other kind of value
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["-0", "0e5", "1E400", "-1e-400", "1.", "01", ".5", "+1", "1e", "--1", "NaN", "3.4028236e38"]
    ),
)
LEAVES = st.one_of(
    NUMBERS, st.sampled_from(["true", "false", "null", '"1"', "{}", "[]", '"[,]"', r'"\u0031"'])
)
BLANKS = st.sampled_from(["", " ", "\n\t", "\r"])


def listed(items: list[str], blank: str = "") -> str:
    return f"[{blank}{f'{blank},{blank}'.join(items)}{blank}]"


def grid(rows: int, columns: int) -> list[list[str]]:
    return [[f"{row}.{column}" for column in range(columns)] for row in range(rows)]


@st.composite
def arrays(draw: Any) -> str:
    """Draw the text of a grid of numbers, in which a few things may be wrong."""
    rows = grid(draw(st.integers(1, 6)), draw(st.integers(1, 24)))
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.sampled_from(rows))
        place = draw(st.integers(0, len(row)))
        row[place : place + draw(st.integers(0, 1))] = [draw(LEAVES)]
    texts = [listed(row, draw(BLANKS)) for row in rows]
    match draw(st.integers(0, 5)):
        case 0:
            return texts[0]
        case 1:
            return listed([*texts, draw(LEAVES)])
        case 2:
            return listed([listed(texts), listed(texts)])
        case 3:
            text = listed(texts)
            place = draw(st.integers(0, len(text)))
            return text[:place] + str(draw(st.sampled_from(list('[],:{}" 1e.-\\')))) + text[place:]
    return listed(texts)


@settings(max_examples=400, deadline=None)
@given(arrays(), st.sampled_from(["float16", "float32", "float64", "int32"]), st.data())
def test_both_ways_give_the_same_call_or_the_same_message(array: str, dtype: str, data: Any) -> None:
    name = {"float16": "FP16", "float32": "FP32", "float64": "FP64", "int32": "INT32"}[dtype]
    shape = data.draw(st.sampled_from(["[1,24]", "[2,12]", "[6,24]", "[1,2.0]"]))
    with contextlib.suppress(ValueError):
        shape = json.dumps(np.shape(json.loads(array)))
    entry = f'"name": "x", "datatype": "{name}", "shape": {shape}, "data": {array}'
    more = data.draw(
        st.sampled_from(["", ', "id": "[,,]"', ', "id": "a", "id": 5', ', "x": [null, {"y": []}]'])
    )
    bodies: list[tuple[InferenceProtocol, str]] = [
        (OipRest(model(dtype)), f'{{"inputs": [{{{entry}}}]{more}}}'),
        (TfServingRest(model(dtype)), f'{{"instances": {array}{more}}}'),
        (TfServingRest(model(dtype)), f'{{"inputs": {array}{more}}}'),
    ]
    for protocol, text in bodies:
        assert outcome(protocol, text.encode()) == strictly(protocol, text.encode())


def outcome(protocol: InferenceProtocol, body: bytes) -> Any:
    try:
        call = protocol.decode(body + BLANK)
    except BadRequest as error:
        return error.message
    return [(array.dtype, array.shape, array.tobytes()) for array in call.inputs], call.context, call.id


@pytest.mark.parametrize("protocol", [OipRest(model("float32")), TfServingRest(model("float32"))])
def test_plain_bodies_need_no_strict_parser(
    protocol: InferenceProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(json_tensors, "parse_object")
    entry = f'{{"name": "x", "datatype": "FP32", "shape": [2, 20], "data": [{ROW},{ROW}]}}'
    body = (
        f'{{"inputs": [{entry}]}}' if protocol.name == "oip-rest" else f'{{"instances": [[{ROW}],[{ROW}]]}}'
    )
    (array,) = protocol.decode(body.encode() + BLANK).inputs
    assert array.shape == (2, 20)
    assert array[1].tolist() == [number + 0.5 for number in range(20)]


def strictly(protocol: InferenceProtocol, body: bytes) -> Any:
    protocol._floats = False  # type: ignore[attr-defined]
    return outcome(protocol, body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=60,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from([None, 2]))
def test_what_is_read_is_what_the_strict_parser_reads(value: Any, indent: int | None) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=False).encode(errors="surrogatepass")
    found = read(body)
    if found is not None:
        assert plain(found) == orjson.loads(body)


def test_large_arrays_of_numbers_become_arrays() -> None:
    for text, shape in ((f"[{ROW}]", (20,)), (f"[[{ROW}],[{ROW}]]", (2, 20)), (f"[[[{ROW}]]]", (1, 1, 20))):
        found = read(
            f'{{"id": "1-e", "x": {text}, "shape": [2, 20], "more": [true, null, {{}}, []]}}'.encode()
        )
        assert type(found["x"]) is Numbers
        assert found["x"].shape == shape
        assert flatten(found["x"], "x").shape == shape
        del found["x"]
        assert found == {"id": "1-e", "shape": [2, 20], "more": [True, None, {}, []]}


@pytest.mark.parametrize(
    "text",
    [
        f"[[{ROW}],[{ROW},1]]",
        f"[[{ROW}],[1]]",
        f"[[{ROW}],[[{ROW}]]]",
        f"[[{ROW}],{ROW}]",
        f"[[[{ROW}],[{ROW}]],[[{ROW},{ROW}],[]]]",
        f"[[[{ROW}],[]],[[],[{ROW}]]]",
        f"[{ROW},true]",
        f'[{ROW},"1"]',
        f"[{ROW},null]",
        f"[{ROW},1e400]",
        f"[{ROW},{2**64}]",
        f'{{"a\\u0031": [{ROW}]}}',
        f'{{"a": [{ROW}], "a": [{ROW}]}}',
        f"\N{ZERO WIDTH NO-BREAK SPACE}[{ROW}]",
        f"[{ROW}] [",
        "[" * 2000 + "]" * 2000,
        '{"a":' * 2000 + "1" + "}" * 2000,
        "",
    ],
)
def test_what_is_not_plain_is_left_to_the_strict_parser(text: str) -> None:
    assert read(text.encode()) is None
    assert read(f"[{ROW}]".encode()).shape == (20,)  # and the parser goes on


def test_a_large_document_is_read_and_its_memory_not_kept() -> None:
    values = np.random.default_rng(0).random(200_000)
    found = read(json.dumps(values.tolist()).encode())
    assert found.values.tobytes() == values.tobytes()
    assert json_numbers._local.parser is None


def test_a_shape_that_the_text_only_claims_takes_no_memory() -> None:
    rows = 4000  # the first list has so many numbers, and there are so many lists: 16 million if all had
    body = f"[[{','.join(['0'] * rows)}]{',[]' * (rows - 1)}]".encode()
    tracemalloc.start()
    try:
        assert read(body) is None
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


def test_the_lists_of_a_large_document_are_checked_without_an_object_for_each_number() -> None:
    body = b"[%b]" % b",".join([b"0"] * (2**20 + 1))
    tracemalloc.start()
    try:
        assert read(body).shape == (2**20 + 1,)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(body)  # four times are the values
    finally:
        tracemalloc.stop()


def test_objects_of_many_keys_are_left_to_the_strict_parser() -> None:
    keys = ",".join(f'"k{number}": {number}' for number in range(65))
    assert read(f'{{"x": [{ROW}], "y": {{{keys}}}}}'.encode()) is None
    assert read(f'{{"x": [{ROW}], "y": {{"a": 1}}}}'.encode()) is not None
