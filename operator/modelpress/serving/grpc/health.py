"""grpc.health.v1, which Kubernetes' gRPC probes and clients ask: the status is the worker's phase."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import HealthServicer

from modelpress.serving.errors import NotFound
from modelpress.serving.grpc.messages import parsed
from modelpress.serving.service import Service

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class _Watcher:
    """The context of a Watch, as far as the library's servicer uses it.

    It forgets a watcher under its lock, on grpcio's own thread; another thread may hold the lock until that
    very thread has sent what it waits for. So watchers are forgotten on a thread of ours.
    """

    def __init__(self, context: Any, forgetting: ThreadPoolExecutor) -> None:
        self._context = context
        self._forgetting = forgetting

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call it at the end of the call; False where that has been."""
        return bool(self._context.add_callback(lambda: self._forgetting.submit(callback)))


class Health:
    """Answers Check and List from the worker's phase, and Watch by the library's servicer.

    The servicer sends to its watchers one after the other under a lock; so nobody but they waits for it.
    """

    def __init__(self, service: Service, names: tuple[str, ...]) -> None:
        """Answer for services of these names, and for all of them together: the empty name."""
        self._service = service
        self._names = ("", *names)
        self._servicer = HealthServicer(experimental_non_blocking=True)
        self._forgetting = ThreadPoolExecutor(1, "grpc-watchers")
        self._sent: int | None = None
        self.update()

    def check(self, message: bytes) -> bytes:
        """Answer Check. Raises BadRequest or NotFound."""
        if _request(message).service not in self._names:
            raise NotFound("no such service")
        return bytes(self._answer().SerializeToString())

    def list(self, _: bytes) -> bytes:
        """Answer List."""
        answer = health_pb2.HealthListResponse()
        for name in self._names:
            answer.statuses[name].CopyFrom(self._answer())
        return bytes(answer.SerializeToString())

    def watch(self, message: bytes, context: Any, send: Any) -> None:
        """Send the status now and whenever it changes. Raises BadRequest."""
        asked = _request(message)
        self.update()
        self._servicer.Watch(asked, _Watcher(context, self._forgetting), send)

    def close(self) -> None:
        """Let the thread end."""
        self._forgetting.shutdown(wait=False)

    def update(self) -> None:
        """Send watchers a change of the status; may wait for one that does not read."""
        status = self._status()
        if status != self._sent:
            self._sent = status
            for name in self._names:
                self._servicer.set(name, status)

    def _status(self) -> int:
        response = health_pb2.HealthCheckResponse
        return int(response.SERVING if self._service.ready else response.NOT_SERVING)

    def _answer(self) -> Any:
        return health_pb2.HealthCheckResponse(status=self._status())


def _request(message: bytes) -> Any:
    return parsed(health_pb2.HealthCheckRequest, message)
