"""The gRPC front end, in the event loop beside HTTP.

grpcio's asyncio server and its threads cost the same for a call that does nothing (measured: 0.5 ms of CPU);
in the loop a slow sender holds no thread, and a caller that leaves cancels its call at once.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C library writes lines that are not JSON
import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from modelpress.api.conditions import Reason
from modelpress.api.errors import UnavailableError
from modelpress.serving.errors import CLIENT_CLOSED_REQUEST, BadRequest, RequestError, Unavailable
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.base import Call, Model
from modelpress.serving.protocols.grpc import health
from modelpress.serving.protocols.grpc import open_inference_pb2 as pb
from modelpress.serving.protocols.grpc.arrivals import ArrivalLimits, Arrivals, slow_messages
from modelpress.serving.protocols.grpc.codec import NAME, OipGrpc, check_model, model_metadata
from modelpress.serving.protocols.grpc.status import code_of
from modelpress.serving.service import Service

SERVICE = "inference.GRPCInferenceService"
_REFUSE_SECONDS = 0.5
_CALLS = 1024  # at a time
_CALLS_OF_A_CONNECTION = 512  # more wait in the client: one alone cannot take all
_LIVENESS = (
    ("grpc.keepalive_time_ms", 30_000),  # connections whose peer is gone are closed
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 300_000),  # clients connect again by themselves
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """Where to listen, and what to take."""

    host: str
    port: int
    max_request_bytes: int
    request_timeout_seconds: float


class GrpcServer:
    """Serves one Service. Used from the event loop only."""

    def __init__(self, service: Service, options: GrpcOptions) -> None:
        """Bind the port. Raises UnavailableError where the address cannot be had."""
        self._service = service
        self._codec: OipGrpc | None = None
        self._ending = False
        self._arrivals = Arrivals(
            ArrivalLimits(slow_messages(options.max_request_bytes), options.request_timeout_seconds)
        )
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=_CALLS,
            options=[
                ("grpc.max_receive_message_length", options.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", _CALLS_OF_A_CONNECTION),
                ("grpc.http2.bdp_probe", 0),  # it would let more arrive of a message that is not read yet
                ("grpc.so_reuseport", 0),  # two servers at one port are an error
                *_LIVENESS,
            ],
        )
        self._server.add_generic_rpc_handlers(self._handlers())
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            self._server.add_insecure_port(f"{host}:{options.port}")
        except RuntimeError as error:
            raise UnavailableError(
                Reason.POD_CRASHED, f"cannot listen on {options.host} port {options.port} for gRPC"
            ) from error

    async def start(self) -> None:
        """Answer from now on."""
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Answer what is in flight within `seconds`, and end.

        grpcio cancels whatever arrives after its own stop: callers are told UNAVAILABLE first, for a moment.
        """
        self._ending = True
        await asyncio.sleep(_REFUSE_SECONDS)
        await self._server.stop(seconds)

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        def page(answer: Callable[[Any], Any], kind: Any) -> grpc.RpcMethodHandler:
            return self._page(lambda request: answer(_parsed(kind, request)).SerializeToString())

        methods = {
            "ServerLive": page(lambda _: pb.ServerLiveResponse(live=True), pb.ServerLiveRequest),
            "ServerReady": page(
                lambda _: pb.ServerReadyResponse(ready=self._service.ready), pb.ServerReadyRequest
            ),
            "ServerMetadata": page(_server_metadata, pb.ServerMetadataRequest),
            "ModelReady": page(self._model_ready, pb.ModelReadyRequest),
            "ModelMetadata": page(self._model_metadata, pb.ModelMetadataRequest),
            # all are unary for a client; as streams, the server decides how long it reads
            "ModelInfer": grpc.stream_unary_rpc_method_handler(self._infer),
        }
        known = frozenset(("", SERVICE))
        checks = {"Check": self._page(lambda request: health.check(request, known, self._service.ready))}
        return (
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler(health.SERVICE, checks),
        )

    def _page(self, answer: Callable[[bytes], bytes]) -> grpc.RpcMethodHandler:
        """Return a handler that tells callers what is wrong with a request."""

        async def handle(_: Any, context: Any) -> bytes:
            try:
                return answer(await self._message(context))
            except RequestError as error:
                await context.abort(code_of(error), error.message)
                raise

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _message(self, context: Any) -> bytes:
        """Return the message of a call; a call without one has an empty one. Raises Overloaded or TooSlow."""
        message = await self._arrivals.take(context.read)
        return b"" if message is grpc.aio.EOF else message

    def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        if self._service.model is not None:
            check_model(self._service.model, request.name, request.version)
        return pb.ModelReadyResponse(ready=self._service.ready)

    def _model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        model = self._loaded()
        check_model(model, request.name, request.version)
        return model_metadata(model)

    def _loaded(self) -> Model:
        model = self._service.model
        if model is None:
            raise Unavailable("the model is being loaded")
        return model

    def _protocol(self) -> OipGrpc:
        if self._ending:
            raise Unavailable("this worker ends; ask another one")
        if self._codec is None:
            self._codec = OipGrpc(self._loaded())
        return self._codec

    async def _infer(self, _: Any, context: Any) -> bytes:
        try:
            message = await self._message(context)
        except RequestError as error:
            self._service.end(NAME, error.status, self._service.begin())
            await context.abort(code_of(error), error.message)
            raise
        return await self._answer(message, context)

    async def _answer(self, message: bytes, context: Any) -> bytes:
        begun = self._service.begin()
        status = 500
        try:
            codec = self._protocol()
            call = codec.decode(_parsed(pb.ModelInferRequest, message))
            response: bytes = codec.encode(call, await self._compute(call)).SerializeToString()
            status = 200
            return response
        except RequestError as error:
            status = error.status
            await context.abort(code_of(error), error.message)
            raise
        except asyncio.CancelledError:  # the caller has left, or its deadline has passed
            status = CLIENT_CLOSED_REQUEST
            raise
        except Exception:
            logger.exception("A request failed.")
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
            raise
        finally:
            self._service.end(NAME, status, begun)

    async def _compute(self, call: Call) -> list[Any]:
        """Wait for the batcher's answer; work of a call that is cancelled is dropped."""
        batcher = self._service.batcher
        assert batcher is not None  # there is one since there is a model
        with batcher.answering(call.inputs) as future:
            return await future


def _server_metadata(_: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name=oip.SERVER, version=oip.server_version())


def _parsed(kind: Any, message: bytes) -> Any:
    """Return the message of `kind`. Raises BadRequest where it is none."""
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise BadRequest(f"the request is not a valid {kind.DESCRIPTOR.name}") from error
