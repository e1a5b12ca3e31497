"""Raw tensors after JSON that was seen before: taken without reading it, and with the same result."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols import oip_rest
from modelpress.serving.protocols.base import Model
from modelpress.serving.protocols.json_tensors import parse_object
from modelpress.serving.protocols.oip_rest import OipRest
from modelpress.serving.signature import Signature, Tensor

IMAGE, FLAGS = Tensor("image", (-1, 3), np.dtype("float32")), Tensor("flags", (-1,), np.dtype("bool"))
SCORE = Tensor("score", (-1,), np.dtype("int64"))
RAW_IMAGE = {"name": "image", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}}
RAW_FLAGS = {"name": "flags", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}}
JSON_FLAGS = {"name": "flags", "datatype": "BOOL", "shape": [2], "data": [True, False]}
TAIL = np.arange(6, dtype="float32").tobytes() + b"\1\0"


def served() -> OipRest:
    return OipRest(Model("m", "m-1", "sha256:0", Signature((IMAGE, FLAGS), (SCORE, FLAGS))))


def request(inputs: list[dict[str, Any]], **more: Any) -> bytes:
    return orjson.dumps({"inputs": inputs, **more})


def outcome(oip: OipRest, json: bytes, tail: bytes) -> Any:
    try:
        call = oip.decode(json + tail, len(json))
    except BadRequest as error:
        return error.message
    arrays = [(array.dtype, array.shape, array.tobytes()) for array in call.inputs]
    return arrays, call.context, call.id


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the JSON that is read, not looked up."""
    seen: list[bytes] = []

    def parse(json: bytes) -> Any:
        seen.append(json)
        return parse_object(json)

    monkeypatch.setattr(oip_rest, "parse_object", parse)
    return seen


TAILS = st.binary(max_size=30) | st.sampled_from([TAIL[:-1] + b"\2", TAIL + b"\0", TAIL[:-1], TAIL[:5]])


@given(st.permutations([RAW_IMAGE, RAW_FLAGS]), TAILS)
def test_any_bytes_after_known_json_give_the_same_call_or_the_same_message(
    inputs: list[dict[str, Any]], tail: bytes
) -> None:
    json = request(inputs, outputs=[{"name": "flags", "parameters": {"binary_data": True}}])
    oip = served()
    first = TAIL if inputs[0] is RAW_IMAGE else TAIL[-2:] + TAIL[:-2]
    assert not isinstance(outcome(oip, json, first), str)
    assert outcome(oip, json, tail) == outcome(served(), json, tail)
    assert outcome(oip, json, first) == outcome(served(), json, first)


def test_json_that_repeats_is_read_once(read: list[bytes]) -> None:
    oip = served()
    kinds = [request([RAW_IMAGE, RAW_FLAGS]), request([RAW_IMAGE, RAW_FLAGS], outputs=[{"name": "score"}])]
    for number in range(10):
        for json in kinds:
            image = np.full((2, 3), number, "float32")
            call = oip.decode(json + image.tobytes() + b"\0\1", len(json))
            assert call.inputs[0].tolist() == image.tolist()
            assert call.inputs[1].tolist() == [False, True]
    assert read == kinds


@pytest.mark.parametrize(
    ("json", "tail"),
    [
        (request([RAW_IMAGE, RAW_FLAGS], id="one"), TAIL),
        (request([RAW_IMAGE, JSON_FLAGS]), TAIL[:-2]),
        (request([RAW_IMAGE, RAW_FLAGS], parameters={"note": "x" * 1024}), TAIL),
    ],
)
def test_what_says_more_than_its_tensors_is_read_each_time(
    read: list[bytes], json: bytes, tail: bytes
) -> None:
    oip = served()
    for _ in range(3):
        oip.decode(json + tail, len(json))
    assert len(read) == 3


def test_what_is_kept_is_bounded() -> None:
    oip = served()
    for number in range(600):
        json = request([RAW_IMAGE, RAW_FLAGS], parameters={"note": number, "binary_data_output": True})
        call = oip.decode(json + TAIL, len(json))
        oip.encode(call, [np.zeros(number, np.int64), np.zeros(number, bool)])
    assert 0 < len(oip._raw_repeats._known) <= 256
    assert 0 < len(oip._raw_answers) <= 256


def test_the_json_of_raw_answers_is_that_of_their_shapes_their_outputs_and_their_id() -> None:
    def answer(oip: OipRest, rows: int, names: list[str], raw: bool, **more: Any) -> Any:
        asked = [{"name": name, "parameters": {"binary_data": raw or name == "flags"}} for name in names]
        json = request([RAW_IMAGE, RAW_FLAGS], outputs=asked, **more)
        encoded = oip.encode(oip.decode(json + TAIL, len(json)), [np.arange(rows), np.ones(rows, bool)])
        return list(map(bytes, encoded.parts)), encoded.json_length

    oip = served()
    for _ in range(2):
        for rows in (1, 2, 7):
            for names in (["score"], ["flags"], ["score", "flags"], ["flags", "score"]):
                for raw, more in ((True, {}), (False, {}), (True, {"id": "a"}), (True, {"id": "b"})):
                    expected = answer(served(), rows, names, raw, **more)
                    assert answer(oip, rows, names, raw, **more) == expected
