"""The methods that answer more than once: Watch of health, and reflection, telling what there is."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from modelpress.serving.grpc.arrivals import Context
from modelpress.serving.grpc.calls import Calls
from modelpress.serving.grpc.health import SERVICE as HEALTH
from modelpress.serving.grpc.health import Health
from modelpress.serving.grpc.messages import POOL, parsed

_WATCH = f"/{HEALTH}/Watch"
_REFLECT = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"


def streams(calls: Calls, health: Health, services: tuple[str, ...]) -> dict[str, grpc.RpcMethodHandler]:
    """Return the handlers by path; reflection tells of `services`, of health and of itself."""
    servicer = reflection.aio.ReflectionServicer((*services, HEALTH, reflection.SERVICE_NAME), POOL)

    async def watch(context: Context) -> None:
        message = await calls.streams.receive(context)
        if message is not None:
            calls.streams.release()
        await health.watch(message or b"", context)

    async def reflect(context: Context) -> None:
        async for answer in servicer.ServerReflectionInfo(_requests(calls, context), context):
            await context.write(answer)

    return {
        _WATCH: calls.stream(_WATCH, watch, health_pb2.HealthCheckResponse.SerializeToString),
        _REFLECT: calls.stream(_REFLECT, reflect, reflection_pb2.ServerReflectionResponse.SerializeToString),
    }


async def _requests(calls: Calls, context: Context) -> AsyncIterator[Any]:
    """Yield what is asked of reflection. Raises BadRequest or TooSlow."""
    while (message := await calls.streams.receive(context)) is not None:
        try:
            request = parsed(reflection_pb2.ServerReflectionRequest, message)
        finally:
            calls.streams.release()
        yield request
