"""The custom metrics API of a cluster: what real workers say on /metrics, asked for by the HPA controller.

It does for the test node what prometheus-adapter does with Prometheus: of the pods that a selector names it
reads a gauge now, over the loopback address that the node tells of each.
"""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from tests.support.cluster.api import Api, ApiError, Json
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.helpers import is_ready, now
from tests.support.cluster.node import ADDRESS_ANNOTATION

GROUP = "/apis/custom.metrics.k8s.io/v1beta2"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = "v1beta2.custom.metrics.k8s.io"
SERVICE = ("default", "custom-metrics")


def gauge(address: str, name: str) -> float | None:
    """Return a worker's gauge, or None where it does not answer or has none."""
    try:
        text = httpx.get(f"http://{address}/metrics", timeout=5, trust_env=False).text
    except httpx.TransportError:
        return None
    lines = (line.partition(" ") for line in text.splitlines())
    return next((float(value) for key, _, value in lines if key == name), None)


def metric_values(api: Api, namespace: str, name: str, selector: str) -> Json:
    """Return a gauge of all ready pods that a selector names, as a MetricValueList."""
    items = []
    for pod in filter(is_ready, api.list("pods", namespace, selector)):
        value = gauge(pod["metadata"]["annotations"][ADDRESS_ANNOTATION], name)
        if value is not None:
            of = {"apiVersion": "/v1", "kind": "Pod", "namespace": namespace, "name": pod["metadata"]["name"]}
            seen = {"timestamp": now()[:19] + "Z", "value": f"{value:g}"}
            items.append({"describedObject": of, "metric": {"name": name}, **seen})
    return {"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta2", "items": items}


@contextmanager
def custom_metrics(control_plane: ControlPlane) -> Iterator[None]:
    """Serve the API, registered and available, until the block ends."""
    admin = control_plane.admin

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            parts = unquote(url.path).removeprefix(GROUP).strip("/").split("/")
            try:
                match parts:
                    case [""] if url.path.startswith(GROUP):
                        resources: Json = {"groupVersion": GROUP.removeprefix("/apis/"), "resources": []}
                        self._answer(200, {"kind": "APIResourceList", "apiVersion": "v1", **resources})
                    case ["namespaces", namespace, "pods", "*", name]:
                        selector = parse_qs(url.query).get("labelSelector", [""])[0]
                        self._answer(200, metric_values(admin, namespace, name, selector))
                    case _:
                        self._answer(404, {"kind": "Status", "apiVersion": "v1", "code": 404})
            except ApiError as error:
                self._answer(error.code, {"kind": "Status", "apiVersion": "v1", "message": str(error)})

        def _answer(self, code: int, answer: Json) -> None:
            body = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    namespace, name = SERVICE
    hosts = [f"{name}.{namespace}.svc", "localhost", "127.0.0.1"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*control_plane.authority.server("custom-metrics", hosts))
    context.load_verify_locations(control_plane.authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED  # the API server shows its certificate of a proxy
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    external = {"type": "ExternalName", "externalName": "localhost"}  # it needs no kube-proxy
    admin.create("services", namespace, {"metadata": {"name": name}, "spec": external})
    admin.request("POST", SERVICES, _registration(control_plane, server.server_port))
    try:
        wait_until("the metrics API", lambda: admin.request("GET", GROUP))
        yield
    finally:
        # first of all: a registered API that does not answer holds up the deletion of namespaces
        admin.request("DELETE", f"{SERVICES}/{NAME}")
        admin.delete("services", namespace, name)
        server.shutdown()
        server.server_close()
        thread.join()


def _registration(control_plane: ControlPlane, port: int) -> Json:
    namespace, name = SERVICE
    bundle = base64.b64encode(control_plane.authority.certificate.read_bytes()).decode()
    group, version = GROUP.removeprefix("/apis/").split("/")
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "caBundle": bundle,
        "service": {"namespace": namespace, "name": name, "port": port},
    }
    return {"metadata": {"name": NAME}, "spec": spec}
