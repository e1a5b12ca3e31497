"""grpc.health.v1, which Kubernetes' gRPC probes and clients ask: the status is the worker's phase."""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2

from modelpress.serving.errors import NotFound
from modelpress.serving.grpc.arrivals import Context
from modelpress.serving.grpc.messages import parsed
from modelpress.serving.service import Service

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """Answers Check, List and Watch. Used from the event loop only.

    The library's servicer writes to its watchers one after the other under a lock, so that one that does not
    read holds up all; here each waits for the next status by itself.
    """

    def __init__(self, service: Service, names: tuple[str, ...]) -> None:
        """Answer for services of these names, and for all of them together: the empty name."""
        self._service = service
        self._names = ("", *names)
        self._last = self._status()
        self._changed = asyncio.Event()  # of the present status; each has its own

    def check(self, message: bytes) -> bytes:
        """Answer Check. Raises BadRequest or NotFound."""
        if _request(message).service not in self._names:
            raise NotFound("no such service")
        return bytes(_answer(self._status()).SerializeToString())

    def list(self, _: bytes) -> bytes:
        """Answer List."""
        answer = health_pb2.HealthListResponse()
        for name in self._names:
            answer.statuses[name].CopyFrom(_answer(self._status()))
        return bytes(answer.SerializeToString())

    async def watch(self, message: bytes, context: Context) -> None:
        """Write the status now and whenever it changes. Raises BadRequest."""
        known = _request(message).service in self._names
        while True:
            self.update()
            changed = self._changed
            status = self._last if known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            await context.write(_answer(status))
            await changed.wait()

    def update(self) -> None:
        """Look at the worker's phase; watchers are told of another one."""
        status = self._status()
        if status != self._last:
            self._last = status
            self._changed.set()
            self._changed = asyncio.Event()

    def _status(self) -> int:
        response = health_pb2.HealthCheckResponse
        return int(response.SERVING if self._service.ready else response.NOT_SERVING)


def _answer(status: int) -> Any:
    return health_pb2.HealthCheckResponse(status=status)


def _request(message: bytes) -> Any:
    return parsed(health_pb2.HealthCheckRequest, message)
