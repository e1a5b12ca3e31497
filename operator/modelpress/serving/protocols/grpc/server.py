"""The gRPC front end: threads that take requests, hand them to the event loop's batcher, and wait.

grpcio's own threads beat its asyncio server (measured): the loop sees one call per request.
Whatever belongs to the Service is done in the loop; decoding and encoding are done on the threads.
"""

import asyncio
import contextlib
import os
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C library writes lines that are not JSON
import grpc

from modelpress.api.conditions import Reason
from modelpress.api.errors import UnavailableError
from modelpress.serving.batching import Answer, Request
from modelpress.serving.errors import RequestError, Unavailable
from modelpress.serving.protocols import oip
from modelpress.serving.protocols.base import Call, Model
from modelpress.serving.protocols.grpc import health
from modelpress.serving.protocols.grpc import open_inference_pb2 as pb
from modelpress.serving.protocols.grpc.codec import NAME, OipGrpc, check_model, model_metadata
from modelpress.serving.protocols.grpc.status import code_of
from modelpress.serving.service import Service

SERVICE = "inference.GRPCInferenceService"
_CLIENT_CLOSED_REQUEST = 499  # as for HTTP; in metrics only
_THREADS = 16  # as many requests are worked on at a time; further ones wait
_REFUSE_SECONDS = 0.5
_WATCH_SECONDS = 0.05  # how often a waiting thread looks whether its caller left

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """Where to listen, and what to take."""

    host: str
    port: int
    max_request_bytes: int


class _Waiting:
    """One request on its way through the loop; the thread waits at `answers`."""

    __slots__ = ("answers", "begun", "gone", "request")

    def __init__(self) -> None:
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.begun = 0.0
        self.request: Request | None = None
        self.gone = False


class GrpcServer:
    """Serves one Service; made and ended beside the loop, which runs until `stop` has returned."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop, options: GrpcOptions) -> None:
        """Listen. Raises UnavailableError where the address cannot be had."""
        self._service = service
        self._loop = loop
        self._codec: OipGrpc | None = None
        self._ending = False
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, "grpc"),
            options=[
                ("grpc.max_receive_message_length", options.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # two servers at one port are an error
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
        self._server.start()

    def stop(self, seconds: float) -> None:
        """Answer what is in flight within `seconds`, and end. Blocks.

        grpcio cancels whatever arrives after its own stop: callers are told UNAVAILABLE first, for a moment.
        """
        self._ending = True
        time.sleep(_REFUSE_SECONDS)
        self._server.stop(seconds).wait()

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        methods = {
            "ServerLive": _method(lambda _: pb.ServerLiveResponse(live=True), pb.ServerLiveRequest),
            "ServerReady": _method(
                lambda _: pb.ServerReadyResponse(ready=self._service.ready), pb.ServerReadyRequest
            ),
            "ServerMetadata": _method(_server_metadata, pb.ServerMetadataRequest),
            "ModelReady": _method(self._model_ready, pb.ModelReadyRequest),
            "ModelMetadata": _method(self._model_metadata, pb.ModelMetadataRequest),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(
                self._infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
            ),
        }
        known = frozenset(("", SERVICE))

        def check(request: bytes) -> bytes:
            return health.check(request, known, self._service.ready)

        return (
            grpc.method_handlers_generic_handler(SERVICE, methods),
            grpc.method_handlers_generic_handler(
                health.SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(_answering(check))}
            ),
        )

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

    def _infer(self, message: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        try:
            codec = self._protocol()
            call = codec.decode(message)
        except RequestError as error:
            self._loop.call_soon_threadsafe(self._count, error.status)
            context.abort(code_of(error), error.message)
        answer = self._answer(call, context)
        if isinstance(answer, RequestError):
            context.abort(code_of(answer), answer.message)
        if not isinstance(answer, list):
            context.abort(grpc.StatusCode.INTERNAL, "internal error")
            raise answer  # never reached: abort raises
        return codec.encode(call, answer)

    def _answer(self, call: Call, context: grpc.ServicerContext) -> Answer:
        """Wait for the batcher's answer, or until the caller has left or its deadline has passed."""
        waiting = _Waiting()
        self._loop.call_soon_threadsafe(self._submit, call, waiting)
        while True:
            with contextlib.suppress(queue.Empty):
                return waiting.answers.get(timeout=_WATCH_SECONDS)
            if not context.is_active():
                self._loop.call_soon_threadsafe(self._abandon, waiting)
                return waiting.answers.get()

    # in the event loop

    def _submit(self, call: Call, waiting: _Waiting) -> None:
        service = self._service
        waiting.begun = service.begin()
        assert service.batcher is not None  # there is one since there is a model
        try:
            waiting.request = service.batcher.submit(call.inputs, lambda answer: self._done(waiting, answer))
        except RequestError as error:
            self._done(waiting, error)

    def _done(self, waiting: _Waiting, answer: Answer) -> None:
        status = 200
        if isinstance(answer, Exception):
            status = answer.status if isinstance(answer, RequestError) else 500
        self._end(waiting, status, answer)

    def _abandon(self, waiting: _Waiting) -> None:
        """Drop the work of a caller that left, unless it has been answered meanwhile."""
        if waiting.gone:
            return
        assert self._service.batcher is not None
        assert waiting.request is not None
        self._service.batcher.abandon(waiting.request)
        self._end(waiting, _CLIENT_CLOSED_REQUEST, Unavailable("the caller left"))

    def _end(self, waiting: _Waiting, status: int, answer: Answer) -> None:
        waiting.gone = True
        self._service.end(NAME, status, waiting.begun)
        waiting.answers.put(answer)

    def _count(self, status: int) -> None:
        """Note a request that was refused before it reached the loop."""
        self._service.end(NAME, status, self._service.begin())


def _server_metadata(_: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name=oip.SERVER, version=oip.server_version())


def _method(answer: Callable[[Any], Any], request: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        _answering(answer), request.FromString, lambda response: response.SerializeToString()
    )


def _answering(answer: Callable[[In], Out]) -> Callable[[In, grpc.ServicerContext], Out]:
    """Return a handler that tells callers what is wrong with a request."""

    def handle(request: In, context: grpc.ServicerContext) -> Out:
        try:
            return answer(request)
        except RequestError as error:
            context.abort(code_of(error), error.message)
            raise

    return handle
