"""A gRPC server over a model that doubles, in the test's process, and clients of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import numpy as np

from modelpress.serving.grpc import messages as pb
from modelpress.serving.grpc.server import GrpcOptions, GrpcServer
from tests.support.serving.http_server import FLOAT, MAX_BODY, TIMEOUT, ServiceFixture

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
WATCH = "/grpc.health.v1.Health/Watch"


def message(rows: int = 1, columns: int = 3, value: float = 1.5) -> bytes:
    """Return a serialized request of ModelInfer."""
    array = np.full((rows, columns), value, FLOAT)
    request = pb.ModelInferRequest(model_name="double", raw_input_contents=[array.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    return bytes(request.SerializeToString())


def values(answer: bytes) -> Any:
    return np.frombuffer(pb.ModelInferResponse.FromString(answer).raw_output_contents[0], FLOAT)


class ServerFixture(ServiceFixture):
    """The server and what it stands on."""

    def __init__(self, timeout: float = TIMEOUT, drain: float = 0) -> None:
        super().__init__(4 * MAX_BODY, timeout)
        self.grpc = GrpcServer(self.service, GrpcOptions("127.0.0.1", 0, MAX_BODY, timeout, drain, 32))
        self.grpc.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc.port}"

    def counted(self, protocol: str) -> dict[str, float]:
        """Return how many calls of a protocol got each code, by the metrics."""
        lines = self.metrics.expose("")[0].decode().splitlines()
        found = (line for line in lines if line.startswith("modelpress_requests_total{"))
        return {
            line.split('"')[1]: float(line.rpartition(" ")[2]) for line in found if f'"{protocol}"' in line
        }


class Caller:
    """A channel of grpcio; statuses of failures are answers, too."""

    def __init__(self, address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.aio.insecure_channel(address, options=options)

    def begin(self, path: str = INFER, request: bytes | None = None, **options: Any) -> Any:
        return self.channel.unary_unary(path)(message() if request is None else request, **options)

    async def __call__(self, path: str = INFER, request: bytes | None = None, **options: Any) -> Any:
        """Return the answer's bytes, or code and details."""
        call = self.begin(path, request, **options)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()


def serve(test: Callable[[ServerFixture, Caller], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run `test` with a server and a client of it; nothing may be left of its calls."""

    async def run() -> None:
        server = ServerFixture(**options)
        caller = Caller(server.address)
        try:
            async with asyncio.timeout(60):
                await test(server, caller)
                server.device.open()
                while server.service.in_flight:
                    await asyncio.sleep(0.005)
        finally:
            await caller.channel.close()
            await server.grpc.stop(1, hurry=True)

    asyncio.run(run())
