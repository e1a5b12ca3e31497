"""The Service in front of the worker pods."""

from typing import Any

from modelpress.api import names
from modelpress.api.contract import GRPC_PORT
from modelpress.planning.render.common import metadata
from modelpress.planning.view import Facts, View


def render(view: View) -> dict[str, Any]:
    """Return the Service; its selector is the same for every revision."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(view),
        "spec": {
            "type": view.spec.service.type.value,
            "selector": names.worker_selector(view.name),
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


def _metadata(view: View) -> dict[str, Any]:
    """Return the metadata with the labels and annotations of the spec, beside which ours win.

    Others, such as a cloud, may add more.
    """
    meta, chosen = metadata(view, view.name, "worker"), view.spec.service
    meta["labels"] = {**(chosen.labels or {}), **meta["labels"]}
    return meta | ({"annotations": dict(chosen.annotations)} if chosen.annotations else {})


def url(facts: Facts) -> str:
    """Return where the model answers inside the cluster."""
    return f"http://{facts.name}.{facts.key.namespace}.svc.{facts.settings.cluster_domain}"
