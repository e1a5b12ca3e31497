"""How many workers may be evicted at once, such as by the drain of a node."""

from typing import Any

from modelpress.api import names
from modelpress.planning.render.common import metadata
from modelpress.planning.view import View


def is_desired(view: View) -> bool:
    """Return whether there is a second pod that can answer while one is evicted."""
    return view.spec.replicas > 1


def render(view: View) -> dict[str, Any]:
    """Return the PodDisruptionBudget: one pod at a time, and always those that do not answer anyway."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(view, view.name, "worker"),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": names.worker_selector(view.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
