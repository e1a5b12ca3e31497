"""Probes of a PodProcess, over real sockets."""

import textwrap
from typing import Any

import pytest

from tests.integration.local.pod_harness import Harness, condition, container, python

SERVER = textwrap.dedent(
    """
    import http.server, os, pathlib, signal, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            good = not pathlib.Path(self.path.strip("/")).exists()
            self.send_response(200 if good else 503)
            self.end_headers()
        def log_message(self, *args): pass
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    address = os.environ["MODELPRESS_HOST"], int(os.environ["MODELPRESS_PORT"])
    http.server.HTTPServer(address, Handler).serve_forever()
    """
)


def probe(path: str, **fields: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 0.1, "failureThreshold": 2, **fields}


def server(**fields: Any) -> dict[str, Any]:
    env = [{"name": "MODELPRESS_PORT", "value": "8080"}, {"name": "MODELPRESS_HOST", "value": "0.0.0.0"}]
    return python(SERVER, env=env, ports=[{"name": "http", "containerPort": 8080}], **fields)


def test_readiness_follows_its_probe(harness: Harness) -> None:
    pod = harness.start(
        containers=[
            server(startupProbe=probe("/never", failureThreshold=600), readinessProbe=probe("/unready"))
        ]
    )
    harness.until(lambda: container(pod.status())["ready"], "ready")
    assert condition(pod.status(), "Ready")["status"] == "True"
    assert container(pod.status())["started"]
    flag = harness.folder / "pod-0" / "main" / "unready"
    flag.touch()
    harness.until(lambda: not container(pod.status())["ready"], "not ready")
    assert condition(pod.status(), "Ready")["status"] == "False"
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in [
        e["message"] for e in pod.events()
    ]
    flag.unlink()
    harness.until(lambda: container(pod.status())["ready"], "ready again")
    assert container(pod.status())["restartCount"] == 0


def test_a_failing_liveness_probe_restarts_the_container(harness: Harness) -> None:
    pod = harness.start(
        containers=[server(startupProbe=probe("/never", failureThreshold=600), livenessProbe=probe("/dead"))]
    )
    harness.until(lambda: container(pod.status())["started"], "started")
    (harness.folder / "pod-0" / "main" / "dead").touch()
    harness.until(lambda: container(pod.status())["restartCount"] >= 1, "a restart")
    assert container(pod.status())["lastState"]["terminated"]["exitCode"] == 0
    assert "Killing" in {event["reason"] for event in pod.events()}


def test_a_startup_probe_that_never_passes_restarts_the_container(harness: Harness) -> None:
    (harness.folder / "pod-0" / "main").mkdir(parents=True)
    (harness.folder / "pod-0" / "main" / "late").touch()
    pod = harness.start(containers=[server(startupProbe=probe("/late"))])
    harness.until(lambda: container(pod.status())["restartCount"] >= 1, "a restart")
    assert not container(pod.status())["started"]
    assert not container(pod.status())["ready"]


def test_a_probe_of_an_unknown_port_is_refused(harness: Harness) -> None:
    with pytest.raises(KeyError, match="http"):
        harness.start(containers=[python("", readinessProbe=probe("/"))])
