"""Requests that repeat themselves mean what they mean when they are parsed anew."""

import random

import numpy as np
import pytest

from modelpress.serving.errors import RequestError
from modelpress.serving.protocols.base import Call, Model
from modelpress.serving.protocols.grpc import open_inference_pb2 as pb
from modelpress.serving.protocols.grpc.codec import OipGrpc
from modelpress.serving.protocols.grpc.methods import parsed
from modelpress.serving.protocols.grpc.repeats import RepeatingCodec
from modelpress.serving.signature import Signature, Tensor
from tests.support.serving.artifacts import equal

FLOAT, BOOL = np.dtype("float32"), np.dtype("bool")
ONE = Signature((Tensor("x", (-1, 4), FLOAT),), (Tensor("y", (-1, 2), FLOAT), Tensor("z", (-1,), BOOL)))
TWO = Signature((Tensor("x", (-1, 4), FLOAT), Tensor("w", (-1,), BOOL)), ONE.outputs)
MASK = Signature((Tensor("x", (-1, 4), BOOL),), (Tensor("y", (-1, 2), FLOAT),))


def model(signature: Signature) -> Model:
    return Model("m", "m-1", "d", signature)


def request(dice: random.Random, signature: Signature) -> bytes:
    rows = dice.choice([1, 1, 2, 9])
    message = pb.ModelInferRequest(model_name="m", model_version=dice.choice(["", "", "m-1"]))
    message.id = dice.choice(["", "", "", "7"])
    for tensor in signature.inputs:
        array = np.array([dice.randrange(3) for _ in range(rows * 4)]).astype(tensor.dtype)
        array = array[: rows * (4 if len(tensor.shape) > 1 else 1)]
        shape = [rows, *tensor.shape[1:]]
        message.inputs.add(name=tensor.name, datatype="BOOL" if tensor.dtype == BOOL else "FP32", shape=shape)
        message.raw_input_contents.append(array.tobytes())
    if dice.random() < 0.3:
        message.outputs.add(name="y")
    data = bytearray(message.SerializeToString())
    if dice.random() < 0.3:
        data[dice.randrange(len(data))] = dice.randrange(256)
    if dice.random() < 0.1:  # an unknown field, which looks like the raw contents
        data += b"\xfa\x01" + bytes((len(message.raw_input_contents[-1]),)) + message.raw_input_contents[-1]
    return bytes(data)


def told(decode: object, data: bytes) -> Call | str:
    try:
        return decode(data)  # type: ignore[operator, no-any-return]
    except RequestError as error:
        return f"{type(error).__name__} {error.message}"


@pytest.mark.parametrize("signature", [ONE, TWO, MASK])
def test_repeated_requests_mean_the_same(signature: Signature) -> None:
    dice, long, short = random.Random(0), OipGrpc(model(signature)), RepeatingCodec(model(signature))
    outputs = {
        rows: [np.full((rows, *tensor.shape[1:]), rows, tensor.dtype) for tensor in signature.outputs]
        for rows in range(1, 10)
    }
    answered = 0
    for _ in range(3000):
        data = request(dice, signature)
        expected = told(lambda data: long.decode(parsed(pb.ModelInferRequest, data)), data)
        found = told(lambda data: short.decode(memoryview(data)), data)
        if isinstance(expected, str) or isinstance(found, str):
            assert found == expected
            continue
        assert equal(list(found.inputs), list(expected.inputs))
        assert (found.id, found.context) == (expected.id, expected.context)
        computed = outputs[len(found.inputs[0])]
        answer = pb.ModelInferResponse.FromString(short.encode(found, computed))
        assert answer == long.encode(expected, computed)
        answered += 1
    assert answered > 1000


def test_what_is_kept_is_bounded() -> None:
    codec = RepeatingCodec(model(ONE))
    for rows in range(1, 1000):
        array = np.zeros((rows, 4), FLOAT)
        message = pb.ModelInferRequest(model_name="m", raw_input_contents=[array.tobytes()])
        message.inputs.add(name="x", datatype="FP32", shape=array.shape)
        call = codec.decode(memoryview(message.SerializeToString()))
        codec.encode(call, [np.zeros((rows, 2), FLOAT), np.zeros(rows, bool)])
        assert len(codec._requests) <= 256
        assert len(codec._answers) <= 256
