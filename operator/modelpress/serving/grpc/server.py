"""The gRPC front end of a worker: grpcio's server on threads of its own, in front of the loop's queue."""

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C library writes lines that are not JSON
import grpc

from modelpress import sockets
from modelpress.serving.errors import Unavailable
from modelpress.serving.grpc.calls import Calls
from modelpress.serving.grpc.health import SERVICE as HEALTH
from modelpress.serving.grpc.health import Health
from modelpress.serving.grpc.methods import INFERENCE, PREDICTION, SERVICES, pages
from modelpress.serving.grpc.oip import OipGrpc
from modelpress.serving.grpc.predict import PredictGrpc
from modelpress.serving.grpc.streams import streams
from modelpress.serving.protocols.base import InferenceProtocol, Model
from modelpress.serving.service import Service

# this logger has a traceback for each piece of metadata that is no UTF-8
logging.getLogger("grpc._cython.cygrpc").setLevel(logging.CRITICAL)

_CALLS = 1024  # at a time, those that wait for a thread included
_PROTOBUF_BYTES = 2**16  # beside the tensors of a message
_SWEEP_SECONDS = 0.25
_REFUSE_SECONDS = 0.5
_GRACE_SECONDS = 5.0  # beside the longest request, for calls on a connection that is too old
_LIMITS = {
    "grpc.max_concurrent_streams": 128,  # calls at a time on one connection: more wait in the client
    "grpc.max_send_message_length": -1,
    "grpc.max_metadata_size": 16 * 1024,  # both: below the second alone grpcio refuses at random
    "grpc.absolute_max_metadata_size": 16 * 1024,
    "grpc.max_allowed_incoming_connections": 1024,
    "grpc.server_handshake_timeout_ms": 20_000,
    "grpc.keepalive_time_ms": 30_000,  # connections whose peer has left are closed
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.min_ping_interval_without_data_ms": 10_000,  # clients may ask as often
    "grpc.max_connection_idle_ms": 300_000,  # clients connect again by themselves
    "grpc.so_reuseport": 0,  # two servers at one port are an error
}
# The greatest age of a connection, one tenth more or less: new pods get their share of old clients. It is
# less than the drain, so that clients have left before the end: grpcio can send them away in no other way
# without a loss.
_MAX_AGE_SECONDS = 300.0
_AGE_OF_DRAIN = 0.8


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """Where to listen, and what to take."""

    host: str
    port: int
    max_request_bytes: int
    request_timeout_seconds: float
    drain_seconds: float  # 0: clients learn of the end by its refusals
    max_batch_size: int  # rows

    @property
    def max_age_seconds(self) -> float:
        """Return the greatest age of a connection."""
        return min(_MAX_AGE_SECONDS, _AGE_OF_DRAIN * self.drain_seconds) or _MAX_AGE_SECONDS


class GrpcServer:
    """Serves one Service. Used from the event loop only."""

    def __init__(self, service: Service, options: GrpcOptions) -> None:
        """Bind the port. Raises OSError where the address cannot be had."""
        self._service = service
        self._max_bytes = options.max_request_bytes
        self.calls = Calls(service, options.request_timeout_seconds, options.max_batch_size)
        self._health = Health(service, SERVICES)
        self._server = grpc.server(
            self.calls.inferences,
            handlers=[_Methods(self.calls, self._handlers())],
            options=_channel_options(options),
            maximum_concurrent_rpcs=_CALLS,
        )
        self.port = _bind(self._server, options.host, options.port)
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    async def stop(self, seconds: float, hurry: bool = False) -> None:
        """Take no more calls, send clients elsewhere, and answer what is in flight within `seconds`.

        grpcio cancels what reaches it after its own stop: without a hurry, callers are refused before.
        """
        self.calls.ending = True
        if not hurry:
            await asyncio.sleep(_REFUSE_SECONDS)
        self.calls.end_unanswerable()
        over = self._server.stop(seconds)
        await asyncio.to_thread(over.wait)
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.calls.close()
        self._health.close()

    async def _sweep(self) -> None:
        """End what waits too long, and send watchers the worker's phase."""
        loop = asyncio.get_running_loop()
        updating: asyncio.Future[None] | None = None
        while True:
            self.calls.check(time.monotonic())
            if updating is None or updating.done():  # a watcher that does not read holds it up
                updating = loop.run_in_executor(self.calls.streams, self._health.update)
            await asyncio.sleep(_SWEEP_SECONDS)

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return the handlers of all methods by path."""
        found = {path: self.calls.page(path, page) for path, page in pages(self._service).items()}
        for method, page in (("Check", self._health.check), ("List", self._health.list)):
            found[f"/{HEALTH}/{method}"] = self.calls.page(f"/{HEALTH}/{method}", page)
        for path, make in (
            (f"/{INFERENCE}/ModelInfer", OipGrpc),
            (f"/{PREDICTION}/Predict", partial(PredictGrpc, max_bytes=self._max_bytes)),
        ):
            found[path] = self.calls.infer(path, self._codec(make))
        return found | streams(self.calls, self._health, SERVICES)

    def _codec(self, make: Callable[[Model], InferenceProtocol]) -> Callable[[], InferenceProtocol]:
        """Return what gives the codec of the model, or raises Unavailable while there is none."""

        @cache
        def codec() -> InferenceProtocol:
            if self._service.model is None:
                raise Unavailable("the model is being loaded")
            return make(self._service.model)

        return codec


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Finds the handler of a call."""

    def __init__(self, calls: Calls, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self._calls = calls
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
        """Return it."""
        path = handler_call_details.method
        return self._handlers.get(path) or self._calls.unknown(path)


def _channel_options(options: GrpcOptions) -> list[tuple[str, int]]:
    more = {
        "grpc.max_receive_message_length": options.max_request_bytes + _PROTOBUF_BYTES,
        "grpc.max_connection_age_ms": int(1000 * options.max_age_seconds),
        "grpc.max_connection_age_grace_ms": int(1000 * (options.request_timeout_seconds + _GRACE_SECONDS)),
    }
    return list((_LIMITS | more).items())


def _bind(server: grpc.Server, host: str, port: int) -> int:
    """Let the server listen at an address; returns the port. Raises OSError where the address cannot be had.

    grpcio does not say what is wrong with an address: a socket of ours finds out first.
    """
    with sockets.bound(host, port) as probe:
        host = probe.getsockname()[0]
    try:
        return int(server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
    except RuntimeError as error:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from error
