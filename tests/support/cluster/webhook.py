"""A mutating admission webhook on loopback: real requests of the API server, answered by a test."""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.cluster.api import Json
from tests.support.cluster.controlplane import ControlPlane

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"

Mutation = Callable[[Json], list[Json]]  # from an object to a JSON patch


@contextmanager
def mutating(
    control_plane: ControlPlane, namespace: str, rule: tuple[str, str, str], mutation: Mutation
) -> Iterator[list[Json]]:
    """Change every create and update of a (group, version, plural) in a namespace; yields the reviews asked.

    `mutation` must find nothing to do in what it made: the API server may ask twice.
    """
    reviews: list[Json] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = review["request"]
            reviews.append(request)
            patch = base64.b64encode(json.dumps(mutation(request["object"])).encode()).decode()
            response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
            body = json.dumps({**review, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    certificate, key = control_plane.authority.server(f"webhook-{namespace}", ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    name = f"test-{namespace}"
    bundle = base64.b64encode(control_plane.authority.certificate.read_bytes()).decode()
    group, version, plural = rule
    hook = {
        "name": "mutate.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{server.server_port}/", "caBundle": bundle},
        "rules": [
            {
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": [group],
                "apiVersions": [version],
                "resources": [plural],
            }
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    control_plane.admin.request("POST", CONFIGURATIONS, {"metadata": {"name": name}, "webhooks": [hook]})
    try:
        yield reviews
    finally:
        control_plane.admin.request("DELETE", f"{CONFIGURATIONS}/{name}")
        server.shutdown()
        server.server_close()
        thread.join()
