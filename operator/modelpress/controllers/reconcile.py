"""One step of the control loop: observe, decide, act. Used by the operator and by local mode."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.controllers.cluster import Cluster, Stale, TemplateRefused
from modelpress.planning.children import objects
from modelpress.planning.explanation import Explanation
from modelpress.planning.plan import decide
from modelpress.planning.status import refused
from modelpress.planning.types import Body, EventNote, Key, Observed, Plan, Ref, Settings
from modelpress.planning.view import Facts

logger = logging.getLogger(__name__)

STALE_SECONDS = 1.0  # the watch event that catches up comes sooner as a rule; this is for one that got lost
REFUSED_SECONDS = 60.0  # what Kubernetes refused may pass after a quota or a policy has changed
SOONEST_SECONDS = 1.0  # no plan may be asked for in a busy loop, whatever it says

_OPTIONAL = "PodDisruptionBudget"  # what pods can do without


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
        if (
            plan.unseen or plan.delete
        ):  # what is destroyed or repeated is never decided on a watch's word alone
            observed = cluster.read_live(observed, plan.unseen)
            plan = decide(observed, settings)
        return _act(cluster, Facts(observed, settings), plan)
    except Stale:
        logger.debug("waiting for the watch", extra=key_fields(key))
        return STALE_SECONDS


@dataclass
class _Writes:
    """What came of a plan's writes, each of which is tried on its own."""

    applied: list[Body] = field(default_factory=list)
    deleted: list[Ref] = field(default_factory=list)
    failed: list[Body] = field(default_factory=list)
    refusal: TemplateRefused | None = None  # the first
    error: Exception | None = None  # the first: the API server, or the way to it

    def attempt(self, write: Callable[[], object]) -> bool:
        """Return whether a write succeeded. Raises Stale: then no other is of use."""
        try:
            write()
        except Stale:
            raise
        except TemplateRefused as refusal:
            self.refusal = self.refusal or refusal
            return False
        except Exception as error:
            self.error = self.error or error
            return False
        return True

    def lacks(self, kind: str, name: str) -> bool:
        """Return whether an object could not be applied."""
        return any(body["kind"] == kind and objects.name_of(body) == name for body in self.failed)


def _act(cluster: Cluster, facts: Facts, plan: Plan) -> float | None:
    """Carry out a plan. The status comes after the objects, events after it: they do not run ahead.

    What one child meets hinders no other, nor the status; an error is raised at the end.
    """
    observed, key = facts.observed, facts.key
    writes = _write(cluster, observed, plan)
    status, events, requeue = _reached(observed, plan, writes), plan.events, plan.requeue
    if writes.refusal is not None:
        status, events = _refused(facts, status, writes.refusal)
        requeue = _sooner(requeue, REFUSED_SECONDS)
    elif writes.lacks("Deployment", key.name):
        events = tuple(event for event in events if event.reason != Reason.SERVING_GAP.value)
    if status is not None:
        cluster.write_status(observed.resource, status)
    for event in events:
        cluster.record(observed.resource, event)
    for body in plan.apply:
        if body["kind"] == _OPTIONAL and not _apply_optional(cluster, observed, body, writes):
            requeue = _sooner(requeue, REFUSED_SECONDS)
    cluster.wait_for_slot(key, plan.slot_since)
    _log(key, plan, writes, status)
    if writes.error is not None:
        raise writes.error
    return None if requeue is None else max(SOONEST_SECONDS, requeue)


def _write(cluster: Cluster, observed: Observed, plan: Plan) -> _Writes:
    """Apply and delete what a plan says, but for what only helps."""
    writes = _Writes()
    for body in plan.apply:
        if body["kind"] == _OPTIONAL:
            continue
        if not _lacks_something(observed, body, writes) and writes.attempt(partial(cluster.apply, body)):
            writes.applied.append(body)
        else:
            writes.failed.append(body)
    for mark in plan.marks:
        writes.attempt(partial(cluster.annotate, mark))
    for ref in plan.delete:
        if writes.attempt(partial(cluster.delete, ref)):
            writes.deleted.append(ref)
    return writes


def _lacks_something(observed: Observed, body: Body, writes: _Writes) -> bool:
    """Return whether an object must wait for another that could not be applied.

    No pod starts without any NetworkPolicy, and none of a revision that could not be brought back.
    """
    name = objects.name_of(observed.resource)
    open_to_all = objects.named(observed.network_policies, name) is None
    if body["kind"] in ("Job", "Deployment") and open_to_all and writes.lacks("NetworkPolicy", name):
        return True
    revision = objects.label(body, names.REVISION_LABEL)
    return body["kind"] == "Deployment" and writes.lacks("ControllerRevision", str(revision))


def _reached(observed: Observed, plan: Plan, writes: _Writes) -> Body | None:
    """Return the planned status; what failed before stays in it until the Job that tries again is there."""
    failed = objects.dig(observed.resource, "status", "failed")
    if plan.status is None or failed is None or all(body["kind"] != "Job" for body in writes.failed):
        return plan.status
    return {**plan.status, "failed": failed}


def _apply_optional(cluster: Cluster, observed: Observed, body: Body, writes: _Writes) -> bool:
    """Apply what pods can do without; return False where it is refused, which an event tells."""
    alone = _Writes()
    if alone.attempt(partial(cluster.apply, body)):
        writes.applied.append(body)
    writes.error = writes.error or alone.error
    if alone.refusal is None:
        return True
    reason, message = Reason.DISRUPTION_BUDGET_REFUSED.value, alone.refusal.message
    cluster.record(observed.resource, EventNote("Warning", reason, message, once=True))
    return False


def _sooner(first: float | None, second: float) -> float:
    return second if first is None else min(first, second)


def _refused(
    facts: Facts, planned: Body | None, refusal: TemplateRefused
) -> tuple[Body | None, tuple[EventNote, ...]]:
    """Return the status to write and the event to record: none where the resource says the same already."""
    why = Explanation(refusal.reason, refusal.message)
    status = refused(facts, planned, why)
    if status == (facts.resource.get("status") or {}):
        return None, ()
    return status, (EventNote("Warning", why.reason.value, why.message),)


def _log(key: Key, plan: Plan, writes: _Writes, status: Body | None) -> None:
    """Write one line about a step that did something."""
    if not (writes.applied or writes.deleted or status is not None):
        return
    applied = [f"{body['kind']}/{body['metadata']['name']}" for body in writes.applied]
    deleted = [f"{ref.kind}/{ref.name}" for ref in writes.deleted]
    done = [f"applied {name}" for name in applied] + [f"deleted {name}" for name in deleted]
    if status is not None:
        done.append("wrote status")
    facts = {"applied": applied, "deleted": deleted, "status": status is not None, "plan": dict(plan.log)}
    logger.info("%s/%s: %s", *key, ", ".join(done), extra={**key_fields(key), **facts})


def key_fields(key: Key) -> dict[str, str]:
    """Return the fields that name a ModelDeployment in a log line; `name` is taken by the logger."""
    return {"namespace": key.namespace, "modeldeployment": key.name}
