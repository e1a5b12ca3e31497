from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols.base import Call, Model
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.protocols.oip_rest import OipRest, model_metadata
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
    "NaN": (b'{"inputs": [NaN]}', "the body is not valid JSON"),
    "infinity": (b'{"inputs": [1e999]}', "the body is not valid JSON"),
    "deep": (b"[" * 100_000, "the body is not valid JSON"),
    "a list": (b"[]", "the body must be a JSON object, not a list"),
    "no inputs": (b"{}", "inputs must be a list of objects"),
    "inputs empty": (b'{"inputs": []}', "inputs must be a list of objects"),
    "input a number": (body(1), "inputs[0] must be an object, not an integer"),
    "input unknown": (image(name="picture"), "inputs[0]: name is 'picture'; the model has 'image', 'tokens'"),
    "input nameless": (image(name=None), "inputs[0]: name is null; the model has 'image', 'tokens'"),
    "input missing": (body(GOOD_IMAGE), "inputs: 'tokens' is missing"),
    "input twice": (body(GOOD_IMAGE, GOOD_IMAGE), "inputs[1]: 'image' is given twice"),
    "datatype wrong": (image(datatype="FP64"), "datatype must be FP32, not 'FP64'"),
    "datatype unset": (image(datatype=None), "datatype must be FP32, not null"),
    "shape unset": (image(shape=None), "shape must be a list of at most 32 sizes"),
    "shape long": (image(shape=[1] * 33), "shape must be a list of at most 32 sizes"),
    "shape negative": (image(shape=[-1, 3]), "shape must hold integers of 0 or more"),
    "shape fraction": (image(shape=[2.0, 3]), "shape must hold integers of 0 or more"),
    "shape boolean": (image(shape=[True, 6]), "shape must hold integers of 0 or more"),
    "rank": (image(shape=[6]), "inputs[0] 'image': shape [6] does not fit [-1,3]"),
    "trailing size": (image(shape=[3, 2]), "inputs[0] 'image': shape [3,2] does not fit [-1,3]"),
    "huge": (image(shape=[10**12, 3]), "data has 6 values, shape [1000000000000,3] needs 3000000000000"),
    "no rows": (image(shape=[0, 3], data=[]), "shape [0,3] is empty; at least one row is needed"),
    "too few values": (image(data=[1, 2, 3]), "data has 3 values, shape [2,3] needs 6"),
    "data unset": (image(data=None), "data must be a list, not null"),
    "data a string": (image(data="123456"), "data must be a list, not a string"),
    "ragged": (image(data=[[1, 2, 3], [4, 5]]), "inputs[0] 'image' is ragged"),
    "ragged kind": (image(data=[[1, 2, 3], 4]), "inputs[0] 'image' is ragged"),
    "nested otherwise": (image(data=[[1, 2], [3, 4], [5, 6]]), "nested as [3,2], shape says [2,3]"),
    "boolean value": (image(data=[1, 2, 3, 4, 5, True]), "value 5 is a boolean; float32 takes numbers"),
    "string value": (image(data=[1, "2", 3, 4, 5, 6]), "value 1 is a string; float32 takes numbers"),
    "null value": (image(data=[None, 2, 3, 4, 5, 6]), "value 0 is null; float32 takes numbers"),
    "object value": (image(data=[{}, 2, 3, 4, 5, 6]), "value 0 is an object; float32 takes numbers"),
    "overflow": (image(data=[1e39, 2, 3, 4, 5, 6]), "a value is out of the range of float32"),
    "fraction for int": (
        body(GOOD_IMAGE, {**GOOD_TOKENS, "data": [1, 2, 3, 4.5]}),
        "value 3 is a number with a fraction; int32 takes integers",
    ),
    "int overflow": (
        body(GOOD_IMAGE, {**GOOD_TOKENS, "data": [1, 2, 3, 2**31]}),
        "inputs[1] 'tokens': a value is out of the range of int32",
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


def decoded(protocol: OipRest, data: bytes) -> Call | None:
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
