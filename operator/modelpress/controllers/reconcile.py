"""One step of the control loop: observe, decide, act. Used by the operator and by local mode.

This module must not import kopf or kubernetes.
"""

import logging

from modelpress.controllers.cluster import Cluster, Stale, TemplateRefused
from modelpress.controllers.refusal import refused_status
from modelpress.planning.plan import decide
from modelpress.planning.types import Body, EventNote, Key, Observed, Plan, Settings

logger = logging.getLogger(__name__)

STALE_SECONDS = 1.0  # the watch event that catches up comes sooner as a rule; this is for one that got lost
REFUSED_SECONDS = 60.0  # what Kubernetes refused may pass after a quota or a policy has changed


def reconcile(cluster: Cluster, key: Key, settings: Settings) -> float | None:
    """Bring one ModelDeployment a step closer to its spec.

    Returns the seconds until the next look that no watch event would cause, or None. Raises whatever the
    cluster raises on faults; the caller then calls again later.
    """
    try:
        observed = cluster.observe(key)
        if observed is None:
            return None
        plan = decide(observed, settings)
        return _act(cluster, key, observed, plan)
    except Stale:
        logger.debug("waiting for the watch", extra=key_fields(key))
        return STALE_SECONDS


def _act(cluster: Cluster, key: Key, observed: Observed, plan: Plan) -> float | None:
    """Carry out a plan. Events come last: a step that fails before them is repeated with them."""
    status, events, requeue = plan.status, plan.events, plan.requeue
    try:
        for body in plan.apply:
            cluster.apply(body)
        for ref in plan.delete:
            cluster.delete(ref)
    except TemplateRefused as refusal:
        status, events = _refused(observed, plan, refusal)
        requeue = REFUSED_SECONDS
    if status is not None:
        cluster.write_status(observed.resource, status)
    for note in events:
        cluster.record(observed.resource, note)
    _log(key, plan, status)
    return requeue


def _refused(
    observed: Observed, plan: Plan, refusal: TemplateRefused
) -> tuple[Body | None, tuple[EventNote, ...]]:
    """Return the status to write and the event to record: none where the resource says the same already."""
    status = refused_status(observed, plan.status, refusal)
    if status == (observed.resource.get("status") or {}):
        return None, ()
    return status, (EventNote("Warning", refusal.reason.value, refusal.message),)


def _log(key: Key, plan: Plan, status: Body | None) -> None:
    """Write one line about a step that did something."""
    if not (plan.apply or plan.delete or status is not None):
        return
    applied = [f"{body['kind']}/{body['metadata']['name']}" for body in plan.apply]
    deleted = [f"{ref.kind}/{ref.name}" for ref in plan.delete]
    done = [f"applied {name}" for name in applied] + [f"deleted {name}" for name in deleted]
    if status is not None:
        done.append("wrote status")
    facts = {"applied": applied, "deleted": deleted, "status": status is not None, "plan": dict(plan.log)}
    logger.info("%s/%s: %s", *key, ", ".join(done), extra={**key_fields(key), **facts})


def key_fields(key: Key) -> dict[str, str]:
    """Return the fields that name a ModelDeployment in a log line; `name` is taken by the logger."""
    return {"namespace": key.namespace, "modeldeployment": key.name}
