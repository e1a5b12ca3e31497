"""httpGet probes with the kubelet's thresholds."""

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from modelpress.local.node.environment import LOOPBACK
from modelpress.planning.types import Body

Kind = Literal["startup", "readiness", "liveness"]
KINDS: tuple[Kind, ...] = ("startup", "readiness", "liveness")


@dataclass(frozen=True)
class Probe:
    """One httpGet probe of a container, its port already one of this machine. Times in seconds."""

    kind: Kind
    path: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    initial_delay: float = 0.0
    timeout: float = 1.0
    period: float = 10.0
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True)
class Tally:
    """What a probe has found: the verdict changes after a threshold of equal results in a row."""

    passing: bool
    last: bool | None = None
    run: int = 0  # equal results in a row

    def observe(self, ok: bool, probe: Probe) -> "Tally":
        """Return the tally after one more result."""
        run = self.run + 1 if ok == self.last else 1
        needed = probe.success_threshold if ok else probe.failure_threshold
        return replace(self, last=ok, run=run, passing=ok if run >= needed else self.passing)

    def failed(self, probe: Probe) -> bool:
        """Return whether the failure threshold was reached: for startup and liveness, kill the container."""
        return self.last is False and self.run >= probe.failure_threshold


def parse(container: Body, kind: Kind, resolve: Callable[[str | int], int]) -> Probe | None:
    """Return a container's probe of this kind; None where it has none or it is no httpGet."""
    body = container.get(f"{kind}Probe") or {}
    get = body.get("httpGet")
    if not get:
        return None
    return Probe(
        kind=kind,
        path=get.get("path", "/"),
        port=resolve(get["port"]),
        headers={header["name"]: header["value"] for header in get.get("httpHeaders", ())},
        initial_delay=body.get("initialDelaySeconds", 0),
        timeout=body.get("timeoutSeconds", 1),
        period=body.get("periodSeconds", 10),
        success_threshold=body.get("successThreshold", 1),
        failure_threshold=body.get("failureThreshold", 3),
    )


def check(probe: Probe) -> str | None:
    """Ask once; return None for a status of 200 to 399, else what is wrong, in the kubelet's words."""
    connection = http.client.HTTPConnection(LOOPBACK, probe.port, timeout=probe.timeout)
    try:
        connection.request("GET", probe.path, headers={"User-Agent": "kube-probe/local", **probe.headers})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f'Get "http://{LOOPBACK}:{probe.port}{probe.path}": {error or type(error).__name__}'
    finally:
        connection.close()
    return None if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"
