"""The Deployment of the worker pods."""

from typing import Any

from modelpress.api import names
from modelpress.api.spec import StrategyType
from modelpress.planning.children import scaling
from modelpress.planning.render.common import metadata
from modelpress.planning.rollouts.revisions import Revision
from modelpress.planning.rollouts.strategy import bounds
from modelpress.planning.view import View


def render(view: View, revision: Revision) -> dict[str, Any]:
    """Return the Deployment: the revision's exact pod template with the spec's replicas and strategy.

    Replicas that an autoscaler sets by mistake are left out: its number stays.
    """
    meta = metadata(view, view.name, "worker")
    meta["labels"] |= {names.REVISION_LABEL: revision.name}
    left = scaling.misdirected(view) is not None
    if left:
        meta["annotations"] = scaling.mark(view)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            **({} if left else {"replicas": view.spec.replicas}),
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": view.spec.progress_deadline_seconds,
            "selector": {"matchLabels": names.worker_selector(view.name)},
            "strategy": _strategy(view),
            "template": revision.template,
        },
    }


def _strategy(view: View) -> dict[str, Any]:
    if view.spec.strategy.type is StrategyType.RECREATE:
        return {"type": "Recreate"}
    surge, unavailable = bounds(view)
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
