"""Who may connect to the pods of a ModelDeployment."""

from typing import Any

from modelpress.api import names
from modelpress.planning.render.common import metadata
from modelpress.planning.view import Facts


def render(facts: Facts) -> dict[str, Any]:
    """Return the one NetworkPolicy: ingress to the ports named http and grpc, and nothing else.

    Job pods have no ports of these names, so they take no connection at all. Egress stays open: stores have
    names, policies only addresses.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(facts, facts.name, "worker"),
        "spec": {
            "podSelector": {"matchLabels": {names.NAME_LABEL: facts.name}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": name, "protocol": "TCP"} for name in ("http", "grpc")]}],
        },
    }
