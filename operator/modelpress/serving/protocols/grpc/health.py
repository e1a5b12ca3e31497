"""grpc.health.v1.Health/Check, which Kubernetes' gRPC probes call (github.com/grpc/grpc-proto).

Its two messages have one field each, so they are read and written here. Watch is not offered: clients take
UNIMPLEMENTED as "no health information". Pure functions.
"""

from modelpress.serving.errors import BadRequest, NotFound

SERVICE = "grpc.health.v1.Health"
_NAME_TAG = 0x0A  # field 1, a string
_STATUS_TAG = 0x08  # field 1, an enumeration
_SERVING, _NOT_SERVING = 1, 2
_MAX_NAME = 127  # longer names have a length of two bytes, and are nobody's


def check(request: bytes, services: frozenset[str], ready: bool) -> bytes:
    """Return the serialized answer to a serialized request. Raises NotFound or BadRequest."""
    if service_name(request) not in services:
        raise NotFound("no such service")
    return bytes((_STATUS_TAG, _SERVING if ready else _NOT_SERVING))


def service_name(request: bytes) -> str:
    """Return the name in a HealthCheckRequest; empty is the whole server. Raises BadRequest."""
    if not request:
        return ""
    if (
        len(request) < 2
        or request[0] != _NAME_TAG
        or request[1] > _MAX_NAME
        or request[1] != len(request) - 2
    ):
        raise BadRequest("the request is not a HealthCheckRequest with a service of at most 127 bytes")
    try:
        return request[2:].decode()
    except UnicodeDecodeError as error:
        raise BadRequest("the name of the service is not UTF-8") from error
