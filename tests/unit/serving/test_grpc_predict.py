"""TensorFlow Serving's messages to arrays and back, without a server."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from modelpress.serving.errors import BadRequest, NotFound, RequestError, TooLarge
from modelpress.serving.executors.base import Array
from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc.predict import PredictGrpc, model_metadata
from modelpress.serving.protocols.base import Model
from modelpress.serving.signature import SERVED_DTYPES, Signature, Tensor

FIELDS = {
    "bool": ("DT_BOOL", "bool_val"),
    **{name: (f"DT_{name.upper()}", "int_val") for name in ("int8", "int16", "int32", "uint8", "uint16")},
    "int64": ("DT_INT64", "int64_val"),
    "uint32": ("DT_UINT32", "uint32_val"),
    "uint64": ("DT_UINT64", "uint64_val"),
    "float16": ("DT_HALF", "half_val"),
    "float32": ("DT_FLOAT", "float_val"),
    "float64": ("DT_DOUBLE", "double_val"),
}
ENUM = pb.TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type
MAX_BYTES = 10_000


def tensor(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    return Tensor(name, shape, np.dtype(dtype))


def identity(dtype: str, columns: int = 3) -> PredictGrpc:
    x = tensor("x", (-1, columns), dtype)
    return PredictGrpc(Model("digits", "digits-7", "d", Signature((x,), (x,))), MAX_BYTES)


def proto(array: Array, raw: bool, **shape: Any) -> Any:
    """Return a TensorProto of an array."""
    name, field = FIELDS[array.dtype.name]
    message = pb.TensorProto(dtype=ENUM.values_by_name[name].number)
    for size in shape.get("shape", array.shape):
        message.tensor_shape.dim.add(size=size)
    if raw:
        message.tensor_content = array.tobytes()
    else:
        values = array.view(np.uint16) if array.dtype.name == "float16" else array
        getattr(message, field).extend(values.ravel().tolist())
    return message


def request(tensors: dict[str, Any], **spec: Any) -> Any:
    message = pb.PredictRequest()
    message.model_spec.name = spec.pop("name", "digits")
    for key, value in spec.items():
        if key == "version":
            message.model_spec.version.value = value
        else:
            setattr(message.model_spec, key, value)
    for name, one in tensors.items():
        message.inputs[name].CopyFrom(one)
    return message


def decode(codec: PredictGrpc, message: Any) -> Any:
    return codec.decode(message.SerializeToString())


def answer(codec: PredictGrpc, call: Any, arrays: list[Any]) -> Any:
    return pb.PredictResponse.FromString(b"".join(codec.encode(call, arrays).parts))


def array_of(message: Any, dtype: str) -> Any:
    """Read an output as clients do."""
    values = getattr(message, FIELDS[dtype][1])
    shape = [dim.size for dim in message.tensor_shape.dim]
    if dtype == "float16":
        return np.array(values, np.uint16).view(np.float16).reshape(shape)
    return np.array(values, dtype).reshape(shape)


@pytest.mark.parametrize("dtype", sorted(SERVED_DTYPES))
@pytest.mark.parametrize("raw", [True, False])
def test_every_dtype_makes_the_round_trip(dtype: str, raw: bool) -> None:
    random = np.random.default_rng(2)
    values = np.frombuffer(random.bytes(6 * np.dtype(dtype).itemsize), dtype).reshape(2, 3)
    if dtype == "bool":
        values = random.random((2, 3)) < 0.5
    codec = identity(dtype)
    call = decode(codec, request({"x": proto(values, raw)}))
    assert (call.inputs[0].dtype, call.inputs[0].shape) == (values.dtype, values.shape)
    assert call.inputs[0].tobytes() == values.tobytes()
    response = answer(codec, call, [values])
    assert (response.model_spec.name, response.model_spec.version.value) == ("digits", 1)
    assert response.outputs["x"].dtype == ENUM.values_by_name[FIELDS[dtype][0]].number
    assert array_of(response.outputs["x"], dtype).tobytes() == values.tobytes()


@given(st.sampled_from(sorted(set(FIELDS) - {"float16"})), st.integers(1, 30), st.data())
def test_typed_values_are_read_as_a_client_wrote_them(dtype: str, rows: int, data: Any) -> None:
    values = data.draw(nps.arrays(dtype, (rows, 3)))
    codec = identity(dtype)
    call = decode(codec, request({"x": proto(values, False)}))
    np.testing.assert_array_equal(call.inputs[0], values)


@pytest.mark.parametrize("dtype", sorted(FIELDS))
def test_the_last_value_is_repeated_as_tensorflow_does(dtype: str) -> None:
    values = np.array([1, 0], dtype)
    for given_ in (values[:1], values):
        call = decode(identity(dtype), request({"x": proto(given_, False, shape=(4, 3))}))
        expected = np.array([*given_.tolist(), *[given_[-1].item()] * (12 - len(given_))], dtype)
        assert call.inputs[0].tobytes() == expected.tobytes()
        assert call.inputs[0].shape == (4, 3)


def test_a_value_does_not_become_a_tensor_of_any_size() -> None:
    one = proto(np.array([1], "float32"), False, shape=(10**9, 3))
    with pytest.raises(TooLarge, match="may take 10000 bytes"):
        decode(identity("float32"), request({"x": one}))


def test_an_output_filter_gives_those_outputs() -> None:
    outputs = (tensor("label", (-1, 2), "float32"), tensor("score", (-1,), "int64"))
    model = Model("digits", "digits-7", "d", Signature((tensor("x", (-1, 3), "float32"),), outputs))
    codec, arrays = PredictGrpc(model, MAX_BYTES), [np.ones((1, 2), "float32"), np.array([7])]
    message = request(
        {"x": proto(np.ones((1, 3), "float32"), True)}, signature_name="serving_default", version=1
    )
    assert set(answer(codec, decode(codec, message), arrays).outputs) == {"label", "score"}
    message.output_filter.append("score")
    response = answer(codec, decode(codec, message), arrays)
    assert list(response.outputs) == ["score"]
    assert response.outputs["score"].int64_val == [7]
    message.output_filter.append("score")
    with pytest.raises(BadRequest, match="output_filter names an output twice"):
        decode(codec, message)


def test_metadata() -> None:
    message = model_metadata(Model("digits", "r", "d", Signature((tensor("x", (-1, 3), "int8"),), ())))
    signatures = pb.SignatureDefMap()
    assert message.metadata["signature_def"].Unpack(signatures)
    x = signatures.signature_def["serving_default"].inputs["x"]
    assert (x.dtype, [dim.size for dim in x.tensor_shape.dim]) == (pb.TensorProto(dtype=6).dtype, [-1, 3])


GOOD = np.ones((1, 3), "float32")


def changed(change: Any) -> Any:
    message = request({"x": proto(GOOD, False)})
    change(message.inputs["x"])
    return message


BAD: dict[str, tuple[Any, type[RequestError], str]] = {
    "no model": (request({}, name=""), BadRequest, "model_spec.name is missing; this worker serves 'digits'"),
    "model": (request({}, name="x"), NotFound, "no model 'x'; this worker serves 'digits'"),
    "version": (request({}, version=2), NotFound, "no version '2' of 'digits'; this worker serves '1'"),
    "label": (request({}, version_label="canary"), NotFound, "no version labelled 'canary'"),
    "signature": (request({}, signature_name="x"), BadRequest, "signature_name is 'x'"),
    "missing": (request({}), BadRequest, "inputs: 'x' is missing"),
    "unknown": (request({"y": proto(GOOD, True)}), BadRequest, "inputs: name is 'y'; the model has 'x'"),
    "dtype": (
        request({"x": proto(np.ones((1, 3)), True)}),
        BadRequest,
        "inputs 'x': dtype must be DT_FLOAT, not DT_DOUBLE",
    ),
    "no dtype": (
        changed(lambda x: x.ClearField("dtype")),
        BadRequest,
        "inputs 'x': dtype must be DT_FLOAT, not DT_INVALID",
    ),
    "other field": (
        changed(lambda x: x.double_val.append(1)),
        BadRequest,
        "inputs 'x': the values must be in float_val or tensor_content, not in double_val",
    ),
    "both": (
        changed(lambda x: setattr(x, "tensor_content", bytes(12))),
        BadRequest,
        "inputs 'x': either float_val or tensor_content, not both",
    ),
    "too many": (
        changed(lambda x: x.float_val.append(1)),
        BadRequest,
        "inputs 'x': float_val has 4 values, shape [1,3] needs 3",
    ),
    "none": (
        changed(lambda x: x.ClearField("float_val")),
        BadRequest,
        "inputs 'x': float_val has 0 values, shape [1,3] needs 3",
    ),
    "content": (
        request({"x": proto(GOOD, True, shape=(2, 3))}),
        BadRequest,
        "inputs 'x': the raw data has 12 bytes, shape [2,3] of float32 needs 24",
    ),
    "shape": (
        request({"x": proto(GOOD, False, shape=(3,))}),
        BadRequest,
        "inputs 'x': shape [3] does not fit [-1,3]",
    ),
    "negative": (
        request({"x": proto(GOOD, False, shape=(-1, 3))}),
        BadRequest,
        "inputs 'x': shape must hold integers of 0 or more; size 0 is -1",
    ),
    "rank": (
        changed(lambda x: setattr(x.tensor_shape, "unknown_rank", True)),
        BadRequest,
        "inputs 'x': tensor_shape: the rank must be known",
    ),
    "empty": (
        request({"x": proto(GOOD, False, shape=(0, 3))}),
        BadRequest,
        "inputs 'x': shape [0,3] is empty; at least one row is needed",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_is_refused_with_one_line(case: str) -> None:
    message, kind, text = BAD[case]
    with pytest.raises(kind) as caught:
        decode(identity("float32"), message)
    assert text in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(("dtype", "value"), [("int8", 128), ("uint8", -1), ("int16", 2**31 - 1)])
def test_a_value_out_of_range_is_refused(dtype: str, value: int) -> None:
    message = request({"x": proto(np.ones((1, 3), dtype), False)})
    message.inputs["x"].int_val[1] = value
    with pytest.raises(BadRequest, match=f"value 1 is {value}, out of the range of {dtype}"):
        decode(identity(dtype), message)
