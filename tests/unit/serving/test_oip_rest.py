from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols.base import DecodedRequest, Model
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.protocols.oip_rest import OipRest, model_metadata
from modelpress.serving.protocols.openapi import infer_request
from modelpress.serving.signature import SERVED_DTYPES, Signature, Tensor


def tensor(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    return Tensor(name, shape, np.dtype(dtype))


IMAGE, TOKENS = tensor("image", (-1, 3), "float32"), tensor("tokens", (-1, 2), "int32")
LABEL, SCORE = tensor("label", (-1, 2), "float32"), tensor("score", (-1, 1), "int64")
MODEL = Model("digits", "digits-7", "sha256:0", Signature((IMAGE, TOKENS), (LABEL, SCORE)))
OIP = OipRest(MODEL)

GOOD_IMAGE = {"name": "image", "datatype": "FP32", "shape": [2, 3], "data": [1, 2.5, 3, 4, 5, 6]}
RAW_IMAGE = {**GOOD_IMAGE, "parameters": {"binary_data_size": 24}}
GOOD_TOKENS = {"name": "tokens", "datatype": "INT32", "shape": [2, 2], "data": [1, 2, 3, 4]}


def body(*inputs: Any, **more: Any) -> bytes:
    return orjson.dumps({"inputs": list(inputs), **more})


def test_inputs_come_in_any_order_and_leave_in_the_models() -> None:
    for inputs in ((GOOD_IMAGE, GOOD_TOKENS), (GOOD_TOKENS, GOOD_IMAGE)):
        image, tokens = OIP.decode(body(*inputs)).inputs
        assert image.dtype == np.float32
        assert image.tolist() == [[1, 2.5, 3], [4, 5, 6]]
        assert tokens.dtype == np.int32
        assert tokens.tolist() == [[1, 2], [3, 4]]


def test_data_may_be_nested() -> None:
    nested = {**GOOD_IMAGE, "data": [[1, 2, 3], [4, 5, 6]]}
    assert OIP.decode(body(nested, GOOD_TOKENS)).inputs[0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_answer_names_model_version_and_every_output_and_repeats_the_id() -> None:
    call = OIP.decode(body(GOOD_IMAGE, GOOD_TOKENS, id="abc"))
    outputs = [np.array([[0.5, 1.5]], "float32"), np.array([[7]], "int64")]
    assert orjson.loads(OIP.encode(call, outputs).parts[0]) == {
        "model_name": "digits",
        "model_version": "digits-7",
        "id": "abc",
        "outputs": [
            {"name": "label", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]},
            {"name": "score", "datatype": "INT64", "shape": [1, 1], "data": [7]},
        ],
    }


def test_requested_outputs_come_in_the_order_asked_for() -> None:
    outputs = [np.zeros((1, 2), "float32"), np.zeros((1, 1), "int64")]
    for names in (["score"], ["score", "label"]):
        call = OIP.decode(body(GOOD_IMAGE, GOOD_TOKENS, outputs=[{"name": name} for name in names]))
        answer = orjson.loads(OIP.encode(call, outputs).parts[0])
        assert [output["name"] for output in answer["outputs"]] == names
        assert "id" not in answer


@pytest.mark.parametrize("dtype", sorted(SERVED_DTYPES))
def test_every_datatype_makes_the_round_trip(dtype: str) -> None:
    values: list[Any] = [True, False] if dtype == "bool" else [0, 1]
    if np.dtype(dtype).kind in "iu":
        values += [int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)]
    if np.dtype(dtype).kind == "f":
        values += [float(np.finfo(dtype).max), -0.1]
    x = tensor("x", (-1,), dtype)
    oip = OipRest(Model("m", "r", "d", Signature((x,), (x,))))
    entry = {"name": "x", "datatype": DATATYPES[dtype], "shape": [len(values)], "data": values}
    call = oip.decode(body(entry))
    expected = np.array(values, dtype)
    assert call.inputs[0].dtype == expected.dtype
    assert call.inputs[0].tobytes() == expected.tobytes()
    answer = orjson.loads(oip.encode(call, [expected]).parts[0])["outputs"][0]
    assert answer["datatype"] == DATATYPES[dtype]
    assert np.array(answer["data"], dtype).tobytes() == expected.tobytes()


def image(**changes: Any) -> bytes:
    return body({**GOOD_IMAGE, **changes}, GOOD_TOKENS)


BAD = {
    "not json": (b"{", "the body is not valid JSON"),
    "empty": (b"", "the body is not valid JSON"),
    "NaN": (b'{"inputs": [NaN]}', "inputs[0] must be an object, not a floating-point number"),
    "NaN in the wrong place": (b'{"inputs": NaN, }', "the body is not valid JSON"),
    "infinity beside NaN": (b'{"inputs": [NaN, 1e999]}', "the body is not valid JSON"),
    "half of a character": (b'{"x": NaN, "id": "\\ud800"}', "id has half of a character"),
    "infinity": (b'{"inputs": [1e999]}', "the body is not valid JSON"),
    "deep": (b"[" * 60_000, "the body is not valid JSON"),
    "a list": (b"[]", "the body must be a JSON object, not a list"),
    "no inputs": (b"{}", "inputs must be a list of objects, not null"),
    "inputs empty": (b'{"inputs": []}', "inputs must be a list of objects; it is empty"),
    "inputs a number": (b'{"inputs": 3}', "inputs must be a list of objects, not an integer"),
    "inputs an empty object": (b'{"inputs": {}}', "inputs must be a list of objects, not an object"),
    "input a number": (body(1), "inputs[0] must be an object, not an integer"),
    "input unknown": (image(name="picture"), "inputs[0]: name is 'picture'; the model has 'image', 'tokens'"),
    "input nameless": (image(name=None), "inputs[0]: name is null; the model has 'image', 'tokens'"),
    "input missing": (body(GOOD_IMAGE), "inputs: 'tokens' is missing"),
    "input twice": (body(GOOD_IMAGE, GOOD_IMAGE), "inputs[1]: 'image' is given twice"),
    "datatype wrong": (image(datatype="FP64"), "datatype must be FP32, not 'FP64'"),
    "datatype unset": (image(datatype=None), "datatype must be FP32, not null"),
    "shape unset": (
        image(shape=None),
        "inputs[0] 'image': shape must be a list of at most 32 sizes, not null",
    ),
    "shape a string": (image(shape="[2,3]"), "shape must be a list of at most 32 sizes, not a string"),
    "shape long": (image(shape=[1] * 33), "shape must be a list of at most 32 sizes; it has 33"),
    "shape negative": (
        image(shape=[-1, 3]),
        "inputs[0] 'image': shape must hold integers of 0 or more; size 0 is -1",
    ),
    "shape fraction": (image(shape=[2, 3.0]), "shape must hold integers of 0 or more; size 1 is 3.0"),
    "shape small": (image(shape=[2, -(2**63)]), "; size 1 is -9223372036854775808"),
    "shape boolean": (image(shape=[True, 6]), "integers of 0 or more; size 0 is a boolean"),
    "shape long string": (image(shape=[2, "3" * 999]), "integers of 0 or more; size 1 is a string"),
    "rank": (image(shape=[6]), "inputs[0] 'image': shape [6] does not fit [-1,3]"),
    "trailing size": (image(shape=[3, 2]), "inputs[0] 'image': shape [3,2] does not fit [-1,3]"),
    "huge": (image(shape=[10**12, 3]), "data has 6 values, shape [1000000000000,3] needs 3000000000000"),
    "no rows": (image(shape=[0, 3], data=[]), "shape [0,3] is empty; at least one row is needed"),
    "too few values": (image(data=[1, 2, 3]), "data has 3 values, shape [2,3] needs 6"),
    "data unset": (image(data=None), "data must be a list, not null"),
    "data a string": (image(data="123456"), "data must be a list, not a string"),
    "ragged": (
        image(data=[[1, 2, 3], [4, 5, 6], [4, 5], [6]]),
        "inputs[0] 'image' is ragged: at depth 1, index 2 is a list of 2, but index 0 is a list of 3",
    ),
    "ragged inside": (
        image(data=[[[1, 2], [3, 4]], [[5, 6], [7]]]),
        "is ragged: at depth 2, index 3 is a list of 1, but index 0 is a list of 2",
    ),
    "ragged kind": (
        image(data=[[1, 2, 3], 4, [5]]),
        "is ragged: at depth 1, index 1 is an integer, but index 0 is a list of 3",
    ),
    "ragged from a number on": (
        image(data=[1, "2", [3, 4], 5]),
        "is ragged: at depth 1, index 2 is a list of 2, but index 0 is an integer",
    ),
    "nested otherwise": (image(data=[[1, 2], [3, 4], [5, 6]]), "nested as [3,2], shape says [2,3]"),
    "boolean value": (image(data=[1, 2, 3, 4, 5, True]), "value 5 is a boolean; float32 takes numbers"),
    "string value": (image(data=[1, "2", 3, 4, 5, 6]), "value 1 is a string; float32 takes numbers"),
    "null value": (image(data=[None, 2, 3, 4, 5, 6]), "value 0 is null; float32 takes numbers"),
    "object value": (image(data=[{}, 2, 3, 4, 5, 6]), "value 0 is an object; float32 takes numbers"),
    "overflow": (
        image(data=[1, 2, 1e39, 4, -1e40, 6]),
        "inputs[0] 'image': value 2 is 1e+39, out of the range of float32",
    ),
    "fraction for int": (
        body(GOOD_IMAGE, {**GOOD_TOKENS, "data": [1, 2, 3, 4.5]}),
        "value 3 is a floating-point number; int32 takes integers",
    ),
    "int overflow": (
        body(GOOD_IMAGE, {**GOOD_TOKENS, "data": [1, 2, 3, 2**31]}),
        "inputs[1] 'tokens': value 3 is 2147483648, out of the range of int32",
    ),
    "rows differ": (
        body(GOOD_IMAGE, {**GOOD_TOKENS, "shape": [1, 2], "data": [1, 2]}),
        "inputs must have the same number of rows: 'image' has 2, 'tokens' has 1",
    ),
    "id a number": (body(GOOD_IMAGE, GOOD_TOKENS, id=5), "id must be a string, not an integer"),
    "parameters": (
        body(GOOD_IMAGE, GOOD_TOKENS, parameters=[]),
        "the request: parameters must be an object, not a list",
    ),
    "binary in": (
        image(data=None, parameters={"binary_data_size": 24}),
        "either data or binary_data_size, not both",
    ),
    "binary in without the header": (
        body({name: value for name, value in RAW_IMAGE.items() if name != "data"}, GOOD_TOKENS),
        "binary_data_size needs the header Inference-Header-Content-Length",
    ),
    "output unknown": (
        body(GOOD_IMAGE, GOOD_TOKENS, outputs=[{"name": "x"}]),
        "outputs[0]: name is 'x'; the model has 'label', 'score'",
    ),
    "output twice": (
        body(GOOD_IMAGE, GOOD_TOKENS, outputs=[{"name": "label"}, {"name": "label"}]),
        "outputs[1]: 'label' is asked for twice",
    ),
    "long name": (image(name="x" * 500), "inputs[0]: name is '" + "x" * 80 + "'...;"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_is_refused_with_one_line(case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(BadRequest) as caught:
        OIP.decode(data)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


TOO_LARGE = {"int8": 128, "uint8": -1, "uint64": -1, "int64": 2**63, "float16": 65520, "float32": -3.5e38}


@given(st.sampled_from(sorted(TOO_LARGE)), st.integers(1, 300), st.data())
def test_the_first_value_that_is_out_of_range_is_named(dtype: str, size: int, data: Any) -> None:
    wrong = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    values = [TOO_LARGE[dtype] if place in wrong else 1 for place in range(size)]
    x = tensor("x", (-1,), dtype)
    entry = {"name": "x", "datatype": DATATYPES[dtype], "shape": [size], "data": values}
    with pytest.raises(BadRequest) as caught:
        OipRest(Model("m", "r", "d", Signature((x,), (x,)))).decode(body(entry))
    assert caught.value.message == (
        f"inputs[0] 'x': value {min(wrong)} is {TOO_LARGE[dtype]}, out of the range of {dtype}"
    )


OUTPUTS_SCHEMA = infer_request(MODEL)["properties"]["outputs"]


@pytest.mark.parametrize("outputs", [None, []])
def test_no_outputs_are_all_outputs(outputs: Any) -> None:
    everything = OIP.decode(body(GOOD_IMAGE, GOOD_TOKENS)).context
    assert OIP.decode(body(GOOD_IMAGE, GOOD_TOKENS, outputs=outputs)).context == everything
    jsonschema.validate(outputs, OUTPUTS_SCHEMA)


@pytest.mark.parametrize(
    ("outputs", "what"),
    [(0, "an integer"), (False, "a boolean"), ("", "a string"), ({}, "an object"), ([0] * 20, None)],
)
def test_outputs_of_another_kind_are_refused(outputs: Any, what: str | None) -> None:
    entry = {**GOOD_IMAGE, "data": [0.5] * 6}
    with pytest.raises(BadRequest) as caught:
        OIP.decode(body(entry, GOOD_TOKENS, outputs=outputs))
    assert caught.value.message == (
        f"outputs must be a list of objects, not {what}"
        if what
        else "outputs[0] must be an object, not an integer"
    )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(outputs, OUTPUTS_SCHEMA)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["image", "tokens"]) | JSON,
        "datatype": st.sampled_from(["FP32", "INT32"]) | JSON,
        "shape": st.sampled_from([[2, 3], [2, 2]]) | JSON,
        "data": st.sampled_from([GOOD_IMAGE["data"], GOOD_TOKENS["data"]]) | JSON,
        "parameters": JSON,
    },
)


def decoded(protocol: OipRest, data: bytes) -> DecodedRequest | None:
    """Return the call, or None where it is refused as it should be: with one short line."""
    try:
        return protocol.decode(data)
    except BadRequest as error:
        message = error.message
    assert "\n" not in message
    assert len(message) < 1000
    return None


@given(
    st.fixed_dictionaries(
        {}, optional={"inputs": st.lists(ENTRY, max_size=3) | JSON, "outputs": JSON, "id": JSON}
    )
)
def test_any_json_gives_a_call_or_one_line(request: Any) -> None:
    call = decoded(OIP, orjson.dumps(request))
    if call:
        assert [array.shape[1:] for array in call.inputs] == [(3,), (2,)]
        assert len({len(array) for array in call.inputs}) == 1


@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        min_size=1,
    )
)
def test_floats_arrive_bit_for_bit(rows: list[list[float]]) -> None:
    expected = np.array(rows, "float32")
    entry = {**GOOD_IMAGE, "shape": list(expected.shape), "data": rows}
    tokens = {**GOOD_TOKENS, "shape": [len(rows), 2], "data": [0] * (2 * len(rows))}
    assert OIP.decode(body(entry, tokens)).inputs[0].tobytes() == expected.tobytes()


def test_metadata_describes_inputs_outputs_revision_and_digest() -> None:
    assert model_metadata(MODEL) == {
        "name": "digits",
        "versions": ["digits-7"],
        "platform": "litert",
        "inputs": [
            {"name": "image", "datatype": "FP32", "shape": (-1, 3)},
            {"name": "tokens", "datatype": "INT32", "shape": (-1, 2)},
        ],
        "outputs": [
            {"name": "label", "datatype": "FP32", "shape": (-1, 2)},
            {"name": "score", "datatype": "INT64", "shape": (-1, 1)},
        ],
        "revision": "digits-7",
        "digest": "sha256:0",
    }
