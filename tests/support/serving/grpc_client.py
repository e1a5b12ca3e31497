"""A client of the Open Inference Protocol over gRPC, made of grpcio."""

import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from modelpress.serving.grpc import messages as pb

SERVICE = "/inference.GRPCInferenceService/"


class Client:
    """The methods of the protocol on one channel."""

    def __init__(self, address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options)

    def __call__(self, method: str, request: Any = None, **options: Any) -> Any:
        kind = getattr(pb, f"{method}Request")
        call = self.channel.unary_unary(
            SERVICE + method, kind.SerializeToString, getattr(pb, f"{method}Response").FromString
        )
        return call(kind() if request is None else request, timeout=options.get("timeout", 30))

    def infer(self, array: Any, **options: Any) -> Any:
        return self("ModelInfer", request(array, options.pop("name", "images")), **options)

    def health(self, message: bytes) -> Any:
        return self.channel.unary_unary("/grpc.health.v1.Health/Check")(message, timeout=30)


def request(array: Any, name: str = "images") -> Any:
    message = pb.ModelInferRequest(model_name="digits", raw_input_contents=[array.tobytes()])
    message.inputs.add(name=name, datatype="FP32", shape=array.shape)
    return message


def images(rows: int) -> Any:
    return np.random.default_rng(rows).random((rows, 64), dtype="float32")


def output(response: Any) -> bytes:
    return bytes(response.raw_output_contents[0])


def until(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
