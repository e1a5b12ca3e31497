from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols import openapi
from modelpress.serving.protocols.base import DecodedRequest, Model
from modelpress.serving.protocols.tfserving_rest import TfServingRest, metadata, status
from modelpress.serving.signature import Signature, Tensor

X = Tensor("x", (-1, 2), np.dtype("float32"))
N = Tensor("n", (-1,), np.dtype("int32"))
P = Tensor("p", (-1, 2), np.dtype("float32"))
ONE = TfServingRest(Model("m", "r", "d", Signature((X,), (P,))))
TWO = TfServingRest(Model("m", "r", "d", Signature((X, N), (P, N))))
OUT_P, OUT_N = np.array([[0.5, 1], [2, 3]], "float32"), np.array([7, 8], "int32")


def values(protocol: TfServingRest, **request: Any) -> list[Any]:
    return [array.tolist() for array in protocol.decode(orjson.dumps(request)).inputs]


def answer(protocol: TfServingRest, outputs: list[Any], **request: Any) -> Any:
    return orjson.loads(protocol.encode(protocol.decode(orjson.dumps(request)), outputs).parts[0])


def test_rows_and_columns_of_a_lone_input_need_no_name() -> None:
    expected = [[[1, 2], [3, 4]]]
    assert values(ONE, instances=[[1, 2], [3, 4]]) == expected
    assert values(ONE, instances=[{"x": [1, 2]}, {"x": [3, 4]}]) == expected
    assert values(ONE, inputs=[[1, 2], [3, 4]]) == expected
    assert values(ONE, inputs={"x": [[1, 2], [3, 4]]}, signature_name="serving_default") == expected


def test_several_inputs_are_named_in_each_row_or_column() -> None:
    expected = [[[1, 2], [3, 4]], [5, 6]]
    assert values(TWO, instances=[{"x": [1, 2], "n": 5}, {"n": 6, "x": [3, 4]}]) == expected
    assert values(TWO, inputs={"n": [5, 6], "x": [[1, 2], [3, 4]]}) == expected


def test_answers_have_the_form_of_the_request() -> None:
    rows = [{"x": [1, 2], "n": 5}, {"n": 6, "x": [3, 4]}]
    assert answer(ONE, [OUT_P], instances=[[1, 2], [3, 4]]) == {"predictions": [[0.5, 1], [2, 3]]}
    assert answer(ONE, [OUT_P], inputs=[[1, 2], [3, 4]]) == {"outputs": [[0.5, 1], [2, 3]]}
    assert answer(TWO, [OUT_P, OUT_N], instances=rows) == {
        "predictions": [{"p": [0.5, 1], "n": 7}, {"p": [2, 3], "n": 8}]
    }
    assert answer(TWO, [OUT_P, OUT_N], inputs={"n": [5, 6], "x": [[1, 2], [3, 4]]}) == {
        "outputs": {"p": [[0.5, 1], [2, 3]], "n": [7, 8]}
    }


BAD: dict[str, tuple[TfServingRest, Any, str]] = {
    "neither": (ONE, {}, 'needs either "instances" (rows) or "inputs" (columns)'),
    "both": (ONE, {"instances": [[1, 2]], "inputs": [[1, 2]]}, 'needs either "instances"'),
    "signature": (
        ONE,
        {"signature_name": "x", "instances": []},
        "signature_name is 'x'; the model has 'serving_d",
    ),
    "no rows": (ONE, {"instances": []}, "instances must be a list with at least one row; it is empty"),
    "rows an object": (
        ONE,
        {"instances": {"x": [[1, 2]]}},
        "instances must be a list with at least one row, not an object",
    ),
    "rows false": (
        ONE,
        {"instances": False},
        "instances must be a list with at least one row, not a boolean",
    ),
    "rank": (ONE, {"instances": [1, 2]}, "instances 'x': shape [2] does not fit [-1,2]"),
    "size": (ONE, {"instances": [[1, 2, 3]]}, "instances 'x': shape [1,3] does not fit [-1,2]"),
    "ragged": (
        ONE,
        {"instances": [[1, 2], [3]]},
        "instances 'x' is ragged: at depth 1, index 1 is a list of 1, but index 0 is a list of 2",
    ),
    "out of range": (
        TWO,
        {"inputs": {"x": [[1, 2]], "n": [2**31]}},
        "inputs 'n': value 0 is 2147483648, out of the range of int32",
    ),
    "out of range in a long body": (
        ONE,
        {"instances": [[1, 0.5]] * 400 + [[1e39, -1e39]]},
        "instances 'x': value 800 is 1e+39, out of the range of float32",
    ),
    "string": (ONE, {"instances": [["1", 2]]}, "value 0 is a string; float32 takes numbers"),
    "base64": (ONE, {"instances": [{"b64": "AA=="}]}, "instances[0] has 'b64'; the model takes 'x'"),
    "mixed rows": (
        ONE,
        {"instances": [[1, 2], {"x": [1, 2]}]},
        "instances[0] must have the keys 'x'; it is a list",
    ),
    "unnamed row": (TWO, {"instances": [[1, 2]]}, "instances[0] must have the keys 'x', 'n'; it is a list"),
    "missing in row": (TWO, {"instances": [{"x": [1, 2]}]}, "instances[0]: 'n' is missing"),
    "unnamed column": (TWO, {"inputs": [[1, 2]]}, "inputs must have the keys 'x', 'n'; it is a list"),
    "missing column": (TWO, {"inputs": {"x": [[1, 2]]}}, "inputs: 'n' is missing"),
    "unknown column": (ONE, {"inputs": {"x": [[1, 2]], "y": 1}}, "inputs has 'y'; the model takes 'x'"),
    "column a number": (ONE, {"inputs": {"x": 1}}, "inputs 'x' must be a list, not an integer"),
    "float for int": (TWO, {"inputs": {"x": [[1, 2]], "n": [1.5]}}, "int32 takes integers"),
    "rows differ": (TWO, {"inputs": {"x": [[1, 2]], "n": [1, 2]}}, "'x' has 1, 'n' has 2"),
    "empty rows": (ONE, {"instances": [[], []]}, "shape [2,0] does not fit [-1,2]"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_is_refused_with_one_line(case: str) -> None:
    protocol, request, message = BAD[case]
    with pytest.raises(BadRequest) as caught:
        protocol.decode(orjson.dumps(request))
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def schema(model: Model) -> Any:
    operation = openapi.document(model)["paths"][f"/v1/models/{model.name}:predict"]["post"]
    return operation["requestBody"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize("name", [None, "", "serving_default"])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_names_of_the_only_signature(name: Any, form: str) -> None:
    request = {form: [[1, 2]], "signature_name": name}
    assert values(ONE, **request) == [[[1, 2]]]
    jsonschema.validate(request, schema(Model("m", "r", "d", Signature((X,), (P,)))))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (0, "an integer"),
        (0.0, "a floating-point number"),
        (False, "a boolean"),
        ([], "a list"),
        ([0.5] * 20, "a list"),
        ({}, "an object"),
        ("x", "'x'"),
    ],
)
@pytest.mark.parametrize("blank", ["", " " * 2048])  # the strict way and the quick one
def test_what_is_no_name_of_a_signature_is_refused(name: Any, what: str, blank: str) -> None:
    request = {"instances": [[1, 2]], "signature_name": name}
    with pytest.raises(BadRequest) as caught:
        ONE.decode(orjson.dumps(request) + blank.encode())
    assert caught.value.message == f"signature_name is {what}; the model has 'serving_default'"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(request, schema(Model("m", "r", "d", Signature((X,), (P,)))))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "n", "?"]), inner),
    max_leaves=12,
)


def decoded(protocol: TfServingRest, data: bytes) -> DecodedRequest | None:
    """Return the call, or None where it is refused as it should be: with one short line."""
    try:
        return protocol.decode(data)
    except BadRequest as error:
        message = error.message
    assert "\n" not in message
    assert len(message) < 1000
    return None


@given(st.sampled_from(["instances", "inputs"]), VALUES, st.booleans())
def test_any_json_gives_a_call_or_one_line(key: str, value: Any, several: bool) -> None:
    call = decoded(TWO if several else ONE, orjson.dumps({key: value}))
    if call:
        assert call.inputs[0].shape[1:] == (2,)


def test_status_and_metadata_are_those_of_tensorflow_serving() -> None:
    assert status(True)["model_version_status"][0]["state"] == "AVAILABLE"
    model = Model("m", "r", "d", Signature((X,), (P,)))
    definition = metadata(model)["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["method_name"] == "tensorflow/serving/predict"
    assert definition["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
            "unknown_rank": False,
        },
        "name": "x",
    }
