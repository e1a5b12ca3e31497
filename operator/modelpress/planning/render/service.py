"""The Service in front of the entry pods."""

from typing import Any

from modelpress.api import names
from modelpress.api.contract import GRPC_PORT
from modelpress.planning.render.common import metadata
from modelpress.planning.view import Facts


def render(facts: Facts) -> dict[str, Any]:
    """Return the Service; its selector is the same for every revision."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(facts, facts.name, "worker"),
        "spec": {
            "type": "ClusterIP",
            "selector": names.entry_selector(facts.name),
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
                # meshes and gateways read the protocol from appProtocol
                {
                    "name": "grpc",
                    "port": GRPC_PORT,
                    "targetPort": "grpc",
                    "protocol": "TCP",
                    "appProtocol": "grpc",
                },
            ],
        },
    }


def url(facts: Facts) -> str:
    """Return where the model answers inside the cluster."""
    return f"http://{facts.name}.{facts.key.namespace}.svc.{facts.settings.cluster_domain}"
