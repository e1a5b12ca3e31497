"""One step of the control loop: observe, decide, act. Used by the operator and by local mode."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from modelpress.api import names
from modelpress.api.conditions import ConditionType, Reason
from modelpress.controllers.cluster import Cluster, Stale, TemplateRefused
from modelpress.controllers.troubles import explained
from modelpress.planning.children import objects
from modelpress.planning.children.ownership import doubtful
from modelpress.planning.conditions import PASSING
from modelpress.planning.explanation import Explanation
from modelpress.planning.plan import decide
from modelpress.planning.status import hindered, refused
from modelpress.planning.types import Body, EventNote, Key, Observed, Plan, Ref, Refusal, Settings
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
        observed, plan = _planned(cluster, observed, settings)
        refusal = _refusal(cluster, Facts(observed, settings), plan)
        if refusal is not None:
            observed, plan = _planned(cluster, replace(observed, refusal=refusal), settings)
        return _act(cluster, Facts(observed, settings), plan)
    except Stale:
        logger.debug("waiting for the watch", extra=key_fields(key))
        return STALE_SECONDS


def tell(cluster: Cluster, key: Key, settings: Settings, why: Explanation) -> None:
    """Say in the status what ended a step before its plan was carried out. Raises what the cluster raises."""
    observed = cluster.observe(key)
    if observed is None:
        return
    status, events = _overlaid(Facts(observed, settings), None, why)
    _report(cluster, observed, status, events)


def _planned(cluster: Cluster, observed: Observed, settings: Settings) -> tuple[Observed, Plan]:
    """Return a plan and what it was made from.

    Nothing is destroyed, repeated, adopted or made again on a watch's word alone: the resource may have gone.
    """
    plan = decide(observed, settings)
    if plan.unseen or plan.delete or doubtful(observed, plan.apply):
        observed = cluster.read_live(observed, plan.unseen)
        plan = decide(observed, settings)
    return observed, plan


def _refusal(cluster: Cluster, facts: Facts, plan: Plan) -> Refusal | None:
    """Return why the API server would not take a revision that does not run yet, asked before it is made.

    Another error is no answer: it meets the writes.
    """
    deployment = _deployment(plan)
    revision = objects.label(deployment, names.REVISION_LABEL)
    if deployment is None or revision is None or revision == facts.running_revision:
        return None
    stored = (body for body in plan.apply if body["kind"] == "ControllerRevision")
    own = [body for body in stored if objects.name_of(body) == revision]
    asked = _Writes()
    all(asked.attempt(partial(cluster.check, body)) for body in (*own, deployment))  # up to the first
    found = asked.refusal
    return Refusal(revision, found.reason, found.message) if found is not None else None


def _deployment(plan: Plan) -> Body | None:
    return next((body for body in plan.apply if body["kind"] == "Deployment"), None)


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
    """Carry out a plan. The events and the status come after the objects: they do not run ahead.

    What one child meets hinders no other, nor the status; an error is raised at the end.
    """
    observed, key = facts.observed, facts.key
    writes = _write(cluster, observed, plan)
    status, events, requeue = _reached(observed, plan, writes), plan.events, plan.requeue
    if writes.refusal is not None or observed.refusal is not None:
        requeue = _sooner(requeue, REFUSED_SECONDS)
    if writes.refusal is not None:
        why = Explanation(writes.refusal.reason, writes.refusal.message)
        status, events = _overlaid(facts, status, why)
    elif writes.error is not None and _is_told(facts, explained(writes.error).reason):
        status, events = _overlaid(facts, status, explained(writes.error))
    elif writes.lacks("Deployment", key.name):
        events = tuple(event for event in events if event.reason != Reason.SERVING_GAP.value)
    _report(cluster, observed, status, events)
    for body in plan.apply:
        if body["kind"] == _OPTIONAL and not _apply_optional(cluster, observed, body, writes):
            requeue = _sooner(requeue, REFUSED_SECONDS)
    cluster.wait_for_slot(key, plan.slot_since)
    _log(facts, plan, writes, status)
    if writes.error is not None:
        raise writes.error
    return None if requeue is None else max(SOONEST_SECONDS, requeue)


def _report(cluster: Cluster, observed: Observed, status: Body | None, events: tuple[EventNote, ...]) -> None:
    """Write the status, the events before it: they follow from what it said before.

    A process that is killed in between leaves a status from which the next one tells them again.
    """
    cluster.record(observed.resource, events)
    if status is not None:
        cluster.write_status(observed.resource, status)


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
    cluster.record(observed.resource, (EventNote("Warning", reason, message, once=True),))
    return False


def _sooner(first: float | None, second: float) -> float:
    return second if first is None else min(first, second)


def _overlaid(
    facts: Facts, planned: Body | None, why: Explanation
) -> tuple[Body | None, tuple[EventNote, ...]]:
    """Return the status to write after an error, and the event: none where the status said the same."""
    kind = ConditionType.RECONCILING if why.reason in PASSING else ConditionType.STALLED
    status = (hindered if kind is ConditionType.RECONCILING else refused)(facts, planned, why)
    if status == (facts.resource.get("status") or {}):
        return None, ()
    before = objects.condition(facts.resource, kind) or {}
    same = (before.get("status"), before.get("reason"), before.get("message")) == (
        "True",
        why.reason.value,
        why.message,
    )
    return status, () if same else (EventNote("Warning", why.reason.value, why.message),)


def _is_told(facts: Facts, reason: Reason) -> bool:
    """Return whether the status tells of errors of this kind: it does so until a step comes to its end."""
    found = (
        objects.condition(facts.resource, kind) for kind in (ConditionType.RECONCILING, ConditionType.STALLED)
    )
    return any(each is not None and each.get("reason") == reason.value for each in found)


def _log(facts: Facts, plan: Plan, writes: _Writes, status: Body | None) -> None:
    """Write one line about a step that did something."""
    if not (writes.applied or writes.deleted or status is not None):
        return
    applied = [f"{body['kind']}/{body['metadata']['name']}" for body in writes.applied]
    deleted = [f"{ref.kind}/{ref.name}" for ref in writes.deleted]
    done = [f"applied {name}" for name in applied] + [f"deleted {name}" for name in deleted]
    if status is not None:
        done.append("wrote status")
    written = {"applied": applied, "deleted": deleted, "status": status is not None, "plan": dict(plan.log)}
    revision = objects.label(_deployment(plan), names.REVISION_LABEL) or facts.running_revision
    about = {"generation": facts.generation, "revision": revision}
    logger.info("%s/%s: %s", *facts.key, ", ".join(done), extra={**key_fields(facts.key), **about, **written})


def key_fields(key: Key) -> dict[str, str]:
    """Return the fields that name a ModelDeployment in a log line; `name` is taken by the logger."""
    return {"namespace": key.namespace, "modeldeployment": key.name}
