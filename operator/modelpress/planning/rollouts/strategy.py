"""How a rollout replaces pods: bounds that the spec leaves open, and whether something answers meanwhile."""

import math

from modelpress.api.conditions import Reason
from modelpress.api.spec import RollingUpdate, StrategyType
from modelpress.planning.render.resources import requests_devices
from modelpress.planning.rollouts.revisions import Revision
from modelpress.planning.types import EventNote
from modelpress.planning.view import View

Bound = int | str  # pods, or a percentage of replicas

GAP = (
    "nothing answers between the end of the old pods and the start of the new ones, as spec.strategy says; "
    "rollingUpdate {maxSurge: 1, maxUnavailable: 0} prevents it where there is room for one more pod"
)


def bounds(view: View) -> tuple[Bound, Bound]:
    """Return maxSurge and maxUnavailable.

    Unset, a new pod starts before the old one ends; one that takes devices lets the old pod make room first.
    Where one of the two is set, the other follows: they are never both 0, and who grants a spare pod wants no
    gap.
    """
    chosen = view.spec.strategy.rolling_update or RollingUpdate()
    surge, unavailable = chosen.max_surge, chosen.max_unavailable
    if surge is None:
        surge = 1 if _is_zero(unavailable) or not requests_devices(view) else 0
    if unavailable is None:
        unavailable = 1 if _is_zero(surge) else 0
    return surge, unavailable


def leaves_gap(view: View) -> bool:
    """Return whether a rollout may end every pod before a new one is ready, by the rules of Deployments."""
    spec = view.spec
    if spec.strategy.type is StrategyType.RECREATE:
        return spec.replicas > 0
    surge, unavailable = (_share(bound, spec.replicas) for bound in bounds(view))
    missing = math.floor(unavailable) or (0 if surge else 1)  # both round to 0: one pod ends first
    return 0 < spec.replicas <= missing


def gap_warnings(view: View, target: Revision | None) -> tuple[EventNote, ...]:
    """Return the event to write where pods that answer are about to end before those of `target` start."""
    if target is None or view.deployment is None or not view.ready_replicas:
        return ()
    if view.running_revision == target.name or not leaves_gap(view):
        return ()
    return (EventNote("Warning", Reason.SERVING_GAP.value, f"revision {target.name}: {GAP}"),)


def _is_zero(bound: Bound | None) -> bool:
    return bound in (0, "0%")


def _share(bound: Bound, replicas: int) -> float:
    return replicas * int(bound.removesuffix("%")) / 100 if isinstance(bound, str) else bound
