"""The methods that answer more than once, as the libraries have them: Watch of health, and reflection.

They have threads of their own: one that is held by its caller holds up no other call.
"""

from collections.abc import Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from modelpress.serving.errors import RequestError
from modelpress.serving.grpc.calls import Calls, Context, Requests, abort
from modelpress.serving.grpc.health import SERVICE as HEALTH
from modelpress.serving.grpc.health import Health
from modelpress.serving.grpc.messages import POOL, parsed

_WATCH = f"/{HEALTH}/Watch"
_REFLECT = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"


def streams(calls: Calls, health: Health, services: tuple[str, ...]) -> dict[str, grpc.RpcMethodHandler]:
    """Return the handlers by path; reflection lists `services`, health and itself."""
    servicer = reflection.ReflectionServicer((*services, HEALTH, reflection.SERVICE_NAME), POOL)

    def watch(requests: Requests, context: Context, send: Any) -> None:
        calls.opened(_WATCH, context)
        try:
            health.watch(calls.message(requests, context, calls.streams) or b"", context, send)
        except RequestError as error:
            abort(error, context)

    def reflect(requests: Requests, context: Context) -> Iterator[Any]:
        calls.opened(_REFLECT, context)
        try:
            yield from servicer.ServerReflectionInfo(_asked(calls, requests, context), context)
        except RequestError as error:
            abort(error, context)

    watch.experimental_non_blocking = True  # type: ignore[attr-defined]  # no thread waits for the next status
    watch.experimental_thread_pool = calls.streams  # type: ignore[attr-defined]
    reflect.experimental_thread_pool = calls.streams  # type: ignore[attr-defined]
    return {
        _WATCH: _handler(watch, health_pb2.HealthCheckResponse),
        _REFLECT: _handler(reflect, reflection_pb2.ServerReflectionResponse),
    }


def _handler(behaviour: Any, answer: Any) -> grpc.RpcMethodHandler:
    return grpc.stream_stream_rpc_method_handler(behaviour, response_serializer=answer.SerializeToString)


def _asked(calls: Calls, requests: Requests, context: Context) -> Iterator[Any]:
    """Yield what is asked of reflection. Raises BadRequest or TooSlow."""
    while (message := calls.message(requests, context, calls.streams)) is not None:
        yield parsed(reflection_pb2.ServerReflectionRequest, message)
