"""The binary tensor data extension of the Open Inference Protocol: raw tensors after the JSON."""

import contextlib
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.serving.errors import BadRequest
from modelpress.serving.protocols.base import DecodedRequest, Encoded, Model
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.protocols.oip_rest import OipRest
from modelpress.serving.protocols.raw_tensors import raw_of
from modelpress.serving.signature import SERVED_DTYPES, Signature, Tensor


def tensor(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    return Tensor(name, shape, np.dtype(dtype))


SIGNATURE = Signature(
    (tensor("image", (-1, 3), "float32"), tensor("tokens", (-1, 2), "int32")),
    (tensor("label", (-1, 2), "float32"), tensor("score", (-1, 1), "int64")),
)
OIP = OipRest(Model("digits", "digits-7", "sha256:0", SIGNATURE))
IMAGE = np.array([[1, 2.5, np.nan], [-np.inf, 5, 6]], "float32")
TOKENS = np.array([[1, -2], [3, 2**31 - 1]], "int32")
OUTPUTS = [np.array([[0.5, np.nan]], "float32"), np.array([[7]], "int64")]


def entry(name: str, array: Any, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": DATATYPES[array.dtype.name],
        "shape": list(array.shape),
        "parameters": {"binary_data_size": array.nbytes},
        **changes,
    }


def decode(json: Any, tail: bytes, length: int | None = None) -> DecodedRequest:
    head = orjson.dumps(json)
    return OIP.decode(head + tail, len(head) if length is None else length)


RAW_IMAGE, RAW_TOKENS = entry("image", IMAGE), entry("tokens", TOKENS)
JSON_TOKENS = {"name": "tokens", "datatype": "INT32", "shape": [2, 2], "data": TOKENS.ravel().tolist()}


def test_raw_inputs_follow_the_json_in_the_order_of_the_inputs() -> None:
    for inputs, tail in (
        ([RAW_IMAGE, RAW_TOKENS], IMAGE.tobytes() + TOKENS.tobytes()),
        ([RAW_TOKENS, RAW_IMAGE], TOKENS.tobytes() + IMAGE.tobytes()),
        ([JSON_TOKENS, RAW_IMAGE], IMAGE.tobytes()),
    ):
        image, tokens = decode({"inputs": inputs}, tail).inputs
        assert image.dtype == np.float32
        assert tokens.dtype == np.int32
        assert image.tobytes() == IMAGE.tobytes()
        assert tokens.tolist() == TOKENS.tolist()


def test_the_json_may_fill_the_body() -> None:
    inputs = [{"name": "image", "datatype": "FP32", "shape": [2, 3], "data": [0] * 6}, JSON_TOKENS]
    assert decode({"inputs": inputs}, b"").inputs[1].tolist() == TOKENS.tolist()


def test_a_large_raw_input_is_not_copied() -> None:
    rows = 500_000
    oip = OipRest(Model("m", "r", "d", Signature((SIGNATURE.inputs[0],), SIGNATURE.outputs)))
    image = np.zeros((rows, 3), "float32")
    head = orjson.dumps({"inputs": [entry("image", image)]})
    body = head + image.tobytes()
    tracemalloc.start()
    call = oip.decode(body, len(head))
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert allocated < 100_000 < image.nbytes
    assert call.inputs[0].shape == (rows, 3)


def answer(encoded: Encoded) -> tuple[dict[str, Any], bytes]:
    body = b"".join(encoded.parts)
    length = len(body) if encoded.json_length is None else encoded.json_length
    return orjson.loads(body[:length]), body[length:]


@pytest.mark.parametrize(
    ("request_", "raw"),
    [
        ({}, []),
        ({"parameters": {"binary_data_output": False}}, []),
        ({"parameters": {"binary_data_output": True}}, ["label", "score"]),
        ({"outputs": [{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}]}, ["score"]),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "score"}, {"name": "label", "parameters": {"binary_data": False}}],
            },
            ["score"],
        ),
        (
            {
                "outputs": [
                    {"name": "score", "parameters": {"binary_data": True}},
                    {"name": "label", "parameters": {"binary_data": True}},
                ]
            },
            ["score", "label"],
        ),
    ],
)
def test_outputs_come_raw_where_asked_for(request_: dict[str, Any], raw: list[str]) -> None:
    call = decode({"inputs": [RAW_IMAGE, RAW_TOKENS], **request_}, IMAGE.tobytes() + TOKENS.tobytes())
    encoded = OIP.encode(call, OUTPUTS)
    json, tail = answer(encoded)
    assert (encoded.json_length is None) == (not raw)
    arrays = dict(zip(("label", "score"), OUTPUTS, strict=True))
    assert tail == b"".join(arrays[name].tobytes() for name in raw)
    for output in json["outputs"]:
        array = arrays[output["name"]]
        assert output["shape"] == list(array.shape)
        if output["name"] in raw:
            assert output["parameters"] == {"binary_data_size": array.nbytes}
            assert "data" not in output
        else:
            assert len(output["data"]) == array.size


@pytest.mark.parametrize("dtype", sorted(SERVED_DTYPES))
def test_every_datatype_makes_the_raw_round_trip(dtype: str) -> None:
    values = np.frombuffer(np.random.default_rng(1).bytes(48), np.dtype(dtype))
    if dtype == "bool":
        values = np.array([True, False, True])
    x = tensor("x", (-1,), dtype)
    oip = OipRest(Model("m", "r", "d", Signature((x,), (x,))))
    head = orjson.dumps({"inputs": [entry("x", values)], "parameters": {"binary_data_output": True}})
    call = oip.decode(head + values.tobytes(), len(head))
    assert call.inputs[0].dtype == values.dtype
    assert call.inputs[0].tobytes() == values.tobytes()
    json, tail = answer(oip.encode(call, [values]))
    assert json["outputs"][0]["datatype"] == DATATYPES[dtype]
    assert tail == values.tobytes()


def test_an_output_that_is_not_contiguous_or_empty_is_sent_row_by_row() -> None:
    array = np.arange(6, dtype="int32").reshape(2, 3)
    assert bytes(raw_of(array.T)) == array.T.tobytes()
    assert bytes(raw_of(array[:, ::2])) == array[:, ::2].tobytes()
    assert bytes(raw_of(array[:0])) == b""


GOOD = IMAGE.tobytes() + TOKENS.tobytes()
BAD: dict[str, tuple[Any, bytes, int | None, str]] = {
    "longer than the body": ({"inputs": []}, b"", 99, "is 99, but the body has 13 bytes"),
    "no json": ({"inputs": []}, b"", 0, "the body is not valid JSON"),
    "too few bytes": (
        {"inputs": [RAW_IMAGE, RAW_TOKENS]},
        GOOD[:-1],
        None,
        "inputs[1] 'tokens': binary_data_size is 16, but 15 bytes are left in the body",
    ),
    "too many bytes": (
        {"inputs": [RAW_IMAGE, RAW_TOKENS]},
        GOOD + b"xy",
        None,
        "2 bytes follow the raw data of the last input",
    ),
    "bytes without an input": ({"inputs": [RAW_IMAGE, JSON_TOKENS]}, GOOD, None, "16 bytes follow"),
    "size of another shape": (
        {"inputs": [entry("image", IMAGE, shape=[3, 3]), RAW_TOKENS]},
        GOOD,
        None,
        "inputs[0] 'image': the raw data has 24 bytes, shape [3,3] of float32 needs 36",
    ),
    "huge shape": (
        {"inputs": [entry("image", IMAGE, shape=[2**62, 3]), RAW_TOKENS]},
        GOOD,
        None,
        "shape [4611686018427387904,3] of float32 needs",
    ),
    "shape of the model": (
        {"inputs": [entry("image", IMAGE, shape=[3, 2]), RAW_TOKENS]},
        GOOD,
        None,
        "inputs[0] 'image': shape [3,2] does not fit [-1,3]",
    ),
    "no rows": (
        {"inputs": [entry("image", IMAGE[:0]), RAW_TOKENS]},
        TOKENS.tobytes(),
        None,
        "shape [0,3] is empty; at least one row is needed",
    ),
    "negative size": (
        {"inputs": [entry("image", IMAGE, parameters={"binary_data_size": -1})]},
        GOOD,
        None,
        "inputs[0] 'image': binary_data_size must be an integer of 0 or more, not -1",
    ),
    "size with a fraction": (
        {"inputs": [entry("image", IMAGE, parameters={"binary_data_size": 24.0})]},
        GOOD,
        None,
        "binary_data_size must be an integer of 0 or more, not 24.0",
    ),
    "negative shape": (
        {"inputs": [entry("image", IMAGE, shape=[-1, 3]), RAW_TOKENS]},
        GOOD,
        None,
        "inputs[0] 'image': shape must hold integers of 0 or more; size 0 is -1",
    ),
    "size a string": (
        {"inputs": [entry("image", IMAGE, parameters={"binary_data_size": "24"})]},
        GOOD,
        None,
        "binary_data_size must be an integer of 0 or more, not a string",
    ),
    "data too": (
        {"inputs": [entry("image", IMAGE, data=[1])]},
        GOOD,
        None,
        "inputs[0] 'image': either data or binary_data_size, not both",
    ),
    "BYTES": ({"inputs": [entry("image", IMAGE, datatype="BYTES")]}, GOOD, None, "must be FP32, not 'BYTES'"),
    "BF16": ({"inputs": [entry("image", IMAGE, datatype="BF16")]}, GOOD, None, "must be FP32, not 'BF16'"),
    "rows differ": (
        {"inputs": [RAW_IMAGE, entry("tokens", TOKENS[:1])]},
        GOOD[:-8],
        None,
        "inputs must have the same number of rows: 'image' has 2, 'tokens' has 1",
    ),
    "binary_data a number": (
        {"inputs": [RAW_IMAGE, RAW_TOKENS], "outputs": [{"name": "label", "parameters": {"binary_data": 1}}]},
        GOOD,
        None,
        "outputs[0]: binary_data must be a boolean, not an integer",
    ),
    "binary_data_output a string": (
        {"inputs": [RAW_IMAGE, RAW_TOKENS], "parameters": {"binary_data_output": "yes"}},
        GOOD,
        None,
        "the request: binary_data_output must be a boolean, not a string",
    ),
    "classification": (
        {
            "inputs": [RAW_IMAGE, RAW_TOKENS],
            "outputs": [{"name": "label", "parameters": {"classification": 3}}],
        },
        GOOD,
        None,
        "outputs[0]: parameter 'classification' is of an extension that is not supported",
    ),
    "shared memory": (
        {"inputs": [entry("image", IMAGE, parameters={"shared_memory_region": "r"})]},
        b"",
        None,
        "inputs[0] 'image': parameter 'shared_memory_region' is of an extension that is not supported",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_is_refused_with_one_line(case: str) -> None:
    json, tail, length, message = BAD[case]
    with pytest.raises(BadRequest) as caught:
        decode(json, tail, length)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


def test_a_raw_boolean_is_0_or_1() -> None:
    x = tensor("x", (-1,), "bool")
    oip = OipRest(Model("m", "r", "d", Signature((x,), (x,))))
    head = orjson.dumps({"inputs": [entry("x", np.zeros(2, bool))]})
    assert oip.decode(head + b"\x01\x00", len(head)).inputs[0].tolist() == [True, False]
    with pytest.raises(BadRequest, match="a raw boolean is a byte of 0 or 1"):
        oip.decode(head + b"\x01\x02", len(head))


@given(st.binary(max_size=60), st.integers(0, 80))
def test_any_bytes_after_any_length_give_a_call_or_one_line(tail: bytes, length: int) -> None:
    head = orjson.dumps({"inputs": [RAW_IMAGE, RAW_TOKENS]})
    for body, at in ((head + tail, len(head)), (tail, length), (head + tail, length)):
        with contextlib.suppress(BadRequest):
            call = OIP.decode(body, at)
            assert b"".join(array.tobytes() for array in call.inputs) == tail
