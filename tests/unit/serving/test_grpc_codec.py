"""The messages of the gRPC protocol to arrays and back, without a server."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from modelpress.serving.errors import BadRequest, NotFound, RequestError
from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc.oip import OipGrpc, model_metadata
from modelpress.serving.protocols.base import DecodedRequest, Model
from modelpress.serving.protocols.oip import DATATYPES
from modelpress.serving.signature import SERVED_DTYPES, Signature, Tensor

FIELDS = {
    "bool": "bool_contents",
    **dict.fromkeys(("int8", "int16", "int32"), "int_contents"),
    "int64": "int64_contents",
    **dict.fromkeys(("uint8", "uint16", "uint32"), "uint_contents"),
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
}
TYPED = sorted(FIELDS)


def tensor(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    return Tensor(name, shape, np.dtype(dtype))


SIGNATURE = Signature(
    (tensor("image", (-1, 3), "float32"), tensor("tokens", (-1, 2), "int32")),
    (tensor("label", (-1, 2), "float32"), tensor("score", (-1, 1), "int64")),
)
MODEL = Model("digits", "digits-7", "sha256:0", SIGNATURE)
OIP = OipGrpc(MODEL)
IMAGE = np.array([[1, 2.5, np.nan], [4, 5, 6]], "float32")
TOKENS = np.array([[1, -2], [3, 2**31 - 1]], "int32")


def identity(dtype: str) -> OipGrpc:
    x = tensor("x", (-1,), dtype)
    return OipGrpc(Model("digits", "digits-7", "d", Signature((x,), (x,))))


def request(arrays: dict[str, Any], raw: bool, **fields: Any) -> Any:
    message = pb.ModelInferRequest(**{"model_name": "digits", **fields})
    for name, array in arrays.items():
        entry = message.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        if raw:
            message.raw_input_contents.append(array.tobytes())
        else:
            getattr(entry.contents, FIELDS[array.dtype.name]).extend(array.ravel().tolist())
    return message


def answer(message: Any, place: int) -> Any:
    """Read an output as clients do: value by value, or the raw bytes."""
    entry = message.outputs[place]
    dtype = next(name for name, datatype in DATATYPES.items() if datatype == entry.datatype)
    if message.raw_output_contents:
        return np.frombuffer(message.raw_output_contents[place], dtype).reshape(entry.shape)
    return np.array(getattr(entry.contents, FIELDS[dtype]), dtype).reshape(entry.shape)


def decode(oip: OipGrpc, message: Any) -> DecodedRequest:
    return oip.decode(message.SerializeToString())


def encode(oip: OipGrpc, call: DecodedRequest, outputs: list[Any]) -> Any:
    return pb.ModelInferResponse.FromString(b"".join(oip.encode(call, outputs).parts))


@pytest.mark.parametrize("dtype", sorted(SERVED_DTYPES))
@pytest.mark.parametrize("raw", [True, False])
def test_every_datatype_makes_the_round_trip(dtype: str, raw: bool) -> None:
    if dtype == "float16" and not raw:
        return  # has raw contents only, below
    values = np.frombuffer(np.random.default_rng(2).bytes(48), dtype) if dtype != "bool" else None
    if values is None:
        values = np.array([True, False, True])
    oip = identity(dtype)
    call = decode(oip, request({"x": values}, raw))
    assert call.inputs[0].dtype == values.dtype
    assert call.inputs[0].tobytes() == values.tobytes()
    response = encode(oip, call, [values])
    assert bool(response.raw_output_contents) is raw
    assert answer(response, 0).tobytes() == values.tobytes()


@given(st.sampled_from(TYPED), st.integers(1, 40), st.data())
def test_typed_contents_are_read_as_a_client_wrote_them(dtype: str, size: int, data: Any) -> None:
    values = data.draw(nps.arrays(dtype, (size,)))
    oip = identity(dtype)
    call = decode(oip, request({"x": values}, False))
    # a NaN may lose its payload in a Python client
    np.testing.assert_array_equal(call.inputs[0], values)
    np.testing.assert_array_equal(answer(encode(oip, call, [values]), 0), values)


def test_fields_that_nobody_knows_do_not_disturb() -> None:
    message = request({"x": np.array([1, 2], "float32")}, False)
    contents = message.inputs[0].contents
    contents.MergeFromString(b"\xa2\x06\x03abc")  # field 100, three bytes
    assert decode(identity("float32"), message).inputs[0].tolist() == [1, 2]


@pytest.mark.parametrize("unknown", [b"\x52\x0812345678", b"\x55\xff\xff\xff\xff", b"\x50\x01"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
def test_fields_that_nobody_knows_are_no_values(dtype: str, unknown: bytes) -> None:
    message = pb.ModelInferRequest(model_name="digits")
    entry = message.inputs.add(name="x", datatype=DATATYPES[dtype], shape=[2])
    entry.contents.MergeFromString(unknown)  # field 10, of three wire types
    with pytest.raises(BadRequest, match=f"{FIELDS[dtype]} has 0 values, shape \\[2\\] needs 2"):
        decode(identity(dtype), message)


def test_several_inputs_and_outputs_in_any_order_with_the_id() -> None:
    for raw in (True, False):
        message = request({"tokens": TOKENS, "image": IMAGE}, raw, id="abc", model_version="digits-7")
        for name in ("score", "label"):
            message.outputs.add(name=name)
        call = decode(OIP, message)
        assert [array.tobytes() for array in call.inputs] == [IMAGE.tobytes(), TOKENS.tobytes()]
        outputs = [np.array([[0.5, 1.5]], "float32"), np.array([[7]], "int64")]
        response = encode(OIP, call, outputs)
        assert (response.model_name, response.model_version, response.id) == ("digits", "digits-7", "abc")
        assert [entry.name for entry in response.outputs] == ["score", "label"]
        assert answer(response, 0).tolist() == [[7]]
        assert answer(response, 1).tolist() == [[0.5, 1.5]]


def test_metadata() -> None:
    metadata = model_metadata(MODEL)
    assert (metadata.name, list(metadata.versions)) == ("digits", ["digits-7"])
    described = [(entry.name, entry.datatype, list(entry.shape)) for entry in metadata.inputs]
    assert described == [("image", "FP32", [-1, 3]), ("tokens", "INT32", [-1, 2])]


def changed(raw: bool, change: Any) -> Any:
    message = request({"image": IMAGE, "tokens": TOKENS}, raw)
    change(message)
    return message


def one(dtype: str, field: str, values: list[Any]) -> Any:
    message = pb.ModelInferRequest(model_name="digits")
    entry = message.inputs.add(name="x", datatype=DATATYPES[dtype], shape=[len(values)])
    getattr(entry.contents, field).extend(values)
    return message


BAD: dict[str, tuple[OipGrpc, Any, type[RequestError], str]] = {
    "model": (OIP, pb.ModelInferRequest(model_name="x"), NotFound, "no model 'x'; this worker serves"),
    "version": (
        OIP,
        pb.ModelInferRequest(model_name="digits", model_version="8"),
        NotFound,
        "no version '8' of 'digits'; this worker serves 'digits-7'",
    ),
    "missing": (OIP, request({"image": IMAGE}, True), BadRequest, "inputs: 'tokens' is missing"),
    "twice": (
        OIP,
        changed(False, lambda m: m.inputs.append(m.inputs[0])),
        BadRequest,
        "inputs[2]: 'image' is given twice",
    ),
    "unknown": (OIP, request({"x": IMAGE}, True), BadRequest, "inputs[0]: name is 'x'; the model has"),
    "raw too few": (
        OIP,
        changed(True, lambda m: m.raw_input_contents.pop()),
        BadRequest,
        "raw_input_contents has 1 entries, but there are 2 inputs",
    ),
    "raw and typed": (
        OIP,
        changed(True, lambda m: m.inputs[0].contents.fp32_contents.append(1)),
        BadRequest,
        "inputs[0] 'image': either contents or raw_input_contents, not both",
    ),
    "raw size": (
        OIP,
        changed(True, lambda m: m.inputs[0].shape.__setitem__(0, 3)),
        BadRequest,
        "inputs[0] 'image': the raw data has 24 bytes, shape [3,3] of float32 needs 36",
    ),
    "typed size": (
        OIP,
        changed(False, lambda m: m.inputs[0].shape.__setitem__(0, 3)),
        BadRequest,
        "inputs[0] 'image': fp32_contents has 6 values, shape [3,3] needs 9",
    ),
    "shape": (
        OIP,
        changed(False, lambda m: m.inputs[0].shape.__setitem__(0, -1)),
        BadRequest,
        "inputs[0] 'image': shape must hold integers of 0 or more; size 0 is -1",
    ),
    "rank": (
        OIP,
        changed(True, lambda m: m.inputs[0].shape.extend([1] * 31)),
        BadRequest,
        "inputs[0] 'image': shape must be a list of at most 32 sizes; it has 33",
    ),
    "datatype": (
        OIP,
        changed(False, lambda m: setattr(m.inputs[0], "datatype", "BYTES")),
        BadRequest,
        "inputs[0] 'image': datatype must be FP32, not 'BYTES'",
    ),
    "output": (
        OIP,
        changed(False, lambda m: m.outputs.add(name="x")),
        BadRequest,
        "outputs[0]: name is 'x'; the model has 'label', 'score'",
    ),
    "other field": (
        identity("float32"),
        one("float32", "fp64_contents", [1.0]),
        BadRequest,
        "the values must be in fp32_contents, not in fp64_contents",
    ),
    "range": (
        identity("int8"),
        one("int8", "int_contents", [1, 2, 128, -129]),
        BadRequest,
        "inputs[0] 'x': value 2 is 128, out of the range of int8",
    ),
    "range below": (
        identity("int16"),
        one("int16", "int_contents", [1, -(2**31)]),
        BadRequest,
        "inputs[0] 'x': value 1 is -2147483648, out of the range of int16",
    ),
    "range unsigned": (
        identity("uint16"),
        one("uint16", "uint_contents", [2**32 - 1, 1]),
        BadRequest,
        "inputs[0] 'x': value 0 is 4294967295, out of the range of uint16",
    ),
    "float16": (identity("float16"), one("float16", "fp32_contents", [1.0]), BadRequest, "FP16 has no typed"),
    "empty": (identity("float32"), one("float32", "fp32_contents", []), BadRequest, "shape [0] is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_is_refused_with_one_line(case: str) -> None:
    oip, message, kind, text = BAD[case]
    with pytest.raises(kind) as caught:
        decode(oip, message)
    assert text in caught.value.message
    assert "\n" not in caught.value.message
