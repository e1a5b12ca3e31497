"""How long inputs of a free size may be, and how every protocol refuses longer ones."""

import jsonschema
import numpy as np
import orjson
import pytest

from modelpress.artifacts.manifest import InputSizes, RowMemory
from modelpress.serving.errors import BadRequest
from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc.oip import OipGrpc
from modelpress.serving.grpc.predict import PredictGrpc
from modelpress.serving.input_limits import greatest, limited
from modelpress.serving.protocols.base import Model
from modelpress.serving.protocols.json_bounds import JsonBounds
from modelpress.serving.protocols.oip_rest import OipRest, model_metadata
from modelpress.serving.protocols.openapi import document, infer_example, predict_example
from modelpress.serving.protocols.tfserving_rest import TfServingRest
from modelpress.serving.signature import Signature, Tensor

MIB = 2**20
FLOAT = np.dtype("float32")
SERIES, SCALE = Tensor("series", (-1, -1, 2), FLOAT), Tensor("scale", (-1, 1), FLOAT)
OUTPUT = Tensor("y", (-1, 1), FLOAT)
SIGNATURE = Signature((SERIES, SCALE), (OUTPUT,))
MEASURED = InputSizes(
    known=((16, 2), (1,)),
    memory=tuple(
        RowMemory(shapes=((size, 2), (1,)), bytes=taken * MIB)
        for size, taken in ((1, 0), (64, 4), (128, 16), (256, 64), (512, 256))
    ),
)


@pytest.mark.parametrize(
    ("rows", "longest"),
    [
        (1, 512),  # 512 MiB: more than was measured
        (2, 512),  # 256
        (8, 256),  # 64
        (12, 199),  # 42.7: between 16 and 64, along a straight line
        (32, 128),  # 16
        (4096, 128),  # in proportion to the rows: as for 32
    ],
)
def test_a_full_batch_of_the_greatest_inputs_fits(rows: int, longest: int) -> None:
    assert greatest(MEASURED, rows) == ((longest, 2), (1,))


def test_the_sizes_of_the_data_are_taken_whatever_they_take() -> None:
    known = MEASURED.model_copy(update={"known": ((300, 2), (1,))})
    assert greatest(known, 32) == ((300, 2), (1,))
    assert greatest(known, 1) == ((512, 2), (1,))
    assert greatest(known.model_copy(update={"memory": ()}), 32) == ((300, 2), (1,))


def test_a_setting_lowers_the_limit_and_never_raises_it() -> None:
    shapes = greatest(MEASURED, 32)
    most = {length: limited(SIGNATURE, shapes, length).inputs[0].most for length in (None, 100, 1000)}
    assert most == {None: (-1, 128, 2), 100: (-1, 100, 2), 1000: (-1, 128, 2)}
    assert limited(SIGNATURE, None, 100).inputs[0].most == (-1, 100, 2)
    assert limited(SIGNATURE, shapes, 1).inputs[1] is SCALE  # which has no free size
    assert limited(SIGNATURE, None, None) is SIGNATURE


LIMITED = Model("m", "m-1", "d", limited(SIGNATURE, ((3, 2), (1,)), None))


def oip_json(length: int) -> bytes:
    inputs = [
        {"name": "series", "datatype": "FP32", "shape": [1, length, 2], "data": [0] * 2 * length},
        {"name": "scale", "datatype": "FP32", "shape": [1, 1], "data": [0]},
    ]
    return orjson.dumps({"inputs": inputs})


def oip_raw(length: int) -> tuple[bytes, int]:
    inputs = [
        {
            "name": "series",
            "datatype": "FP32",
            "shape": [1, length, 2],
            "parameters": {"binary_data_size": 8 * length},
        },
        {"name": "scale", "datatype": "FP32", "shape": [1, 1], "data": [0]},
    ]
    head = orjson.dumps({"inputs": inputs})
    return head + bytes(8 * length), len(head)


def oip_grpc(length: int, raw: bool) -> bytes:
    message = pb.ModelInferRequest(model_name="m")
    for name, shape in (("series", [1, length, 2]), ("scale", [1, 1])):
        entry = message.inputs.add(name=name, datatype="FP32", shape=shape)
        if raw:
            message.raw_input_contents.append(bytes(4 * int(np.prod(shape))))
        else:
            entry.contents.fp32_contents.extend([0.0] * int(np.prod(shape)))
    return bytes(message.SerializeToString())


def predict(length: int, values: int) -> bytes:
    message = pb.PredictRequest()
    message.model_spec.name = "m"
    for name, shape, count in (("series", (1, length, 2), values), ("scale", (1, 1), 1)):
        tensor = message.inputs[name]
        tensor.dtype = 1  # DT_FLOAT
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.extend([0.0] * count)
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    "decode",
    [
        lambda length: OipRest(LIMITED).decode(oip_json(length)),
        lambda length: OipRest(LIMITED).decode(*oip_raw(length)),
        lambda length: TfServingRest(LIMITED).decode(
            orjson.dumps({"inputs": {"series": [[[0, 0]] * length], "scale": [[0]]}})
        ),
        lambda length: TfServingRest(LIMITED).decode(
            orjson.dumps({"instances": [{"series": [[0, 0]] * length, "scale": [0]}]})
        ),
        lambda length: OipGrpc(LIMITED).decode(oip_grpc(length, raw=False)),
        lambda length: OipGrpc(LIMITED).decode(oip_grpc(length, raw=True)),
        lambda length: PredictGrpc(LIMITED, 10**6).decode(predict(length, 2 * length)),
        lambda length: PredictGrpc(LIMITED, 10**6).decode(predict(length, 1)),
    ],
    ids=["oip", "raw", "columns", "rows", "grpc", "grpc raw", "predict", "predict filled up"],
)
def test_every_protocol_names_the_input_its_dimension_the_size_and_the_limit(decode: object) -> None:
    assert callable(decode)
    assert [array.shape for array in decode(3).inputs] == [(1, 3, 2), (1, 1)]
    with pytest.raises(BadRequest) as caught:
        decode(4)
    assert "'series': dimension 1 of shape [1,4,2] is 4; at most 3 is accepted" in caught.value.message


def test_a_tensor_that_would_be_filled_up_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(BadRequest, match=r"dimension 1 .* at most 3 is accepted"):
        PredictGrpc(LIMITED, 2**62).decode(predict(2**40, 1))


def test_the_json_of_long_bodies_is_bounded_by_the_greatest_inputs() -> None:
    body = b'{"inputs": [' + b"0," * (8192 * 7 + 2000) + b"0]}"
    with pytest.raises(Exception, match="this model takes at most"):
        JsonBounds(LIMITED).check(body)
    JsonBounds(Model("m", "m-1", "d", SIGNATURE)).check(body)


def test_metadata_and_the_openapi_document_state_the_limits() -> None:
    inputs = model_metadata(LIMITED)["inputs"]
    assert [tensor.get("max_shape") for tensor in inputs] == [(-1, 3, 2), None]
    for path, name, example in (
        ("/v2/models/m/infer", "shape", infer_example(LIMITED)),
        ("/v1/models/m:predict", "inputs", predict_example(LIMITED)),
    ):
        request = document(LIMITED)["paths"][path]["post"]["requestBody"]
        schema = jsonschema.Draft202012Validator(request["content"]["application/json"]["schema"])
        assert schema.is_valid(example)
        if name == "shape":
            example["inputs"][0]["shape"] = [1, 4, 2]
        else:
            example["inputs"]["series"] = [[[0, 0]] * 4]
        assert not schema.is_valid(example)
