"""The planner: from one observation to what is to be done now. Pure: no I/O, no clock but `observed.now`."""

from dataclasses import dataclass, replace

from modelpress.api.conditions import Reason
from modelpress.api.status import Failure, RevisionReference
from modelpress.planning import gate, objects, policies, recipe, revisions, waiting
from modelpress.planning.children import budget_warnings, missing, unwanted
from modelpress.planning.events import transitions
from modelpress.planning.note import Note, note
from modelpress.planning.ownership import WAIT_SECONDS, obstacle
from modelpress.planning.recipe import Making, decide_artifact
from modelpress.planning.render import service
from modelpress.planning.revisions import Revision
from modelpress.planning.rollout import Rollout, decide_rollout
from modelpress.planning.status import Outcome, assemble, to_body
from modelpress.planning.strategy import gap_warnings
from modelpress.planning.types import Body, Observed, Plan, Ref, Settings
from modelpress.planning.view import Facts, View, parse_spec


def decide(observed: Observed, settings: Settings) -> Plan:
    """Return what to do about one ModelDeployment now; an empty plan where all is as wanted.

    A resource that is being deleted needs nothing: garbage collection follows the owner references.
    """
    facts = Facts(observed, settings)
    if objects.deleting(facts.resource):
        return Plan()
    try:
        view = View(observed, settings, parse_spec(facts.resource))
    except ValueError as error:
        return _finish(facts, _unreadable(facts, note(Reason.INVALID_SPEC, str(error))))
    steps = _steps(view)
    plan = _finish(
        view,
        _outcome(view, steps),
        apply=missing(view, steps.making, steps.rollout, steps.revisions),
        delete=(*unwanted(view), *(() if steps.hold else (*steps.making.delete, *_obsolete(view, steps)))),
        requeue=_requeue(view, steps),
    )
    warnings = (*gap_warnings(view, steps.rollout.target), *budget_warnings(view))
    return replace(plan, events=(*warnings, *plan.events))


@dataclass(frozen=True)
class Steps:
    """The loop's decisions, each made from those before it."""

    hold: Note | None  # why nothing new may be made
    known: tuple[Revision, ...]  # those stored, and those that can be restored
    making: Making
    missed: Note | None  # the gate's verdict on the wanted artifact
    wanted: Revision | None  # what the spec asks for, where its artifact is known and passed
    rollout: Rollout

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """Return all revisions that may be needed; the wanted one may be new."""
        extra = (self.wanted,) if self.wanted and not revisions.find(self.known, self.wanted.name) else ()
        return (*self.known, *extra)


def _steps(view: View) -> Steps:
    known = revisions.with_restored(view, revisions.history(view))
    hold = policies.hold(view)
    frozen = hold is not None or view.spec.suspend
    making = decide_artifact(view, known, frozen=frozen)
    artifact = making.artifact
    missed = (
        gate.judge(view.spec.evaluation, artifact.scores, artifact.compressed_bytes) if artifact else None
    )
    wanted = revisions.wanted(view, known, artifact) if artifact and not missed else None
    hold = hold or (policies.unsuitable(view, artifact) if artifact else None) or _name_taken(view, wanted)
    start = None if hold or view.spec.suspend else wanted
    if missed:
        start = _before_rejected(view, known)
    rollout = decide_rollout(view, known, start)
    return Steps(hold, known, making, missed, wanted, rollout)


def _name_taken(view: View, wanted: Revision | None) -> Note | None:
    body = objects.named(view.observed.revisions, wanted.name) if wanted else None
    return obstacle(body, view.resource, "ControllerRevision") if body else None


def _before_rejected(view: View, known: tuple[Revision, ...]) -> Revision | None:
    """Return the current revision where a rollout of what the gate now refuses is under way."""
    running, current = revisions.running(view, known), view.status.current
    if running and running.artifact.recipe_hash == view.recipe_hash:
        return revisions.find(known, current.name if current else None)
    return None


def _outcome(view: View, steps: Steps) -> Outcome:
    making, rollout = steps.making, steps.rollout
    hold = steps.hold
    waits = hold is not None and hold.reason is Reason.WAITING_FOR_DELETION
    current = rollout.target.reference if rollout.completed and rollout.target else view.status.current
    serving = steps.wanted is not None and current is not None and current.name == steps.wanted.name
    stalled = making.stalled or steps.missed or rollout.stalled
    return Outcome(
        replicas=view.spec.replicas,
        current=current,
        candidate=_candidate(view, steps, current),
        failed=_failed(view, steps, current),
        serving=serving,
        artifact=making.artifact,
        passed=steps.missed is None if making.artifact and view.spec.evaluation else None,
        url=service.url(view) if rollout.target else view.status.url,
        working=hold if waits else making.working or rollout.working,
        stalled=(None if waits else hold) or stalled,
        suspended=view.spec.suspend,
        trouble=view.trouble(view.entry_pods, view.failed_pods),
    )


def _candidate(view: View, steps: Steps, current: RevisionReference | None) -> RevisionReference | None:
    """Return the revision that is being made, as far as it is known."""
    wanted, making, artifact = steps.wanted, steps.making, steps.making.artifact
    if steps.hold:
        kept = view.status.candidate
        return kept if kept and (current is None or kept.name != current.name) else None
    if wanted and current and wanted.name == current.name:
        return None
    if steps.rollout.stalled and steps.rollout.target is not wanted:
        return None
    if wanted and not view.spec.suspend:
        return wanted.reference
    if artifact:
        return RevisionReference(
            source_digest=artifact.source_digest,
            recipe_hash=artifact.recipe_hash,
            artifact_digest=artifact.artifact_digest,
        )
    return RevisionReference(recipe_hash=view.recipe_hash) if making.job else None


def _failed(view: View, steps: Steps, current: RevisionReference | None) -> Failure | None:
    """Return what to remember as failed: something new, or the old until it is done with."""
    making, rollout = steps.making, steps.rollout
    if making.failed:
        return making.failed
    if steps.missed:
        return recipe.failure(view, steps.missed)
    if rollout.failed:
        return rollout.failed
    old = view.failed
    if old is None or steps.hold:
        return old
    before = view.status.current
    moved = current is not None and (before is None or before.name != current.name)
    tried_again = recipe.is_retried(view) and making.job
    passed = steps.wanted is not None and old.recipe_hash == view.recipe_hash and old.revision_hash is None
    restarted = (
        steps.wanted is not None
        and old.revision_hash == steps.wanted.revision_hash
        and old.retry != view.retry
    )
    return None if moved or tried_again or passed or restarted else old


def _unreadable(facts: Facts, why: Note) -> Outcome:
    """Return the outcome where the spec cannot be read: all stays as it is."""
    status = facts.status
    return Outcome(
        replicas=objects.number(facts.deployment, "spec", "replicas"),
        current=status.current,
        candidate=status.candidate,
        failed=status.failed,
        url=status.url,
        stalled=why,
        trouble=facts.trouble(facts.entry_pods, facts.failed_pods),
    )


def _obsolete(view: View, steps: Steps) -> tuple[Ref, ...]:
    running = revisions.running(view, steps.known)
    current = view.status.current
    used = {revision.name for revision in (steps.wanted, steps.rollout.target, running) if revision}
    return revisions.obsolete(
        view, steps.known, used | ({current.name} if current and current.name else set())
    )


def _requeue(view: View, steps: Steps) -> float | None:
    waits = WAIT_SECONDS if steps.hold and steps.hold.reason is Reason.WAITING_FOR_DELETION else None
    pods = waiting.look_again(view.entry_pods, view.observed.now)
    return min((due for due in (waits, steps.making.requeue, pods) if due is not None), default=None)


def _finish(
    facts: Facts,
    outcome: Outcome,
    apply: tuple[Body, ...] = (),
    delete: tuple[Ref, ...] = (),
    requeue: float | None = None,
) -> Plan:
    status = assemble(facts, outcome)
    body = to_body(status)
    changed = body != objects.dig(facts.resource, "status")
    why = outcome.stalled or outcome.working
    acts = bool(apply or delete or changed)
    return Plan(
        apply=apply,
        delete=delete,
        status=body if changed else None,
        events=transitions(facts.status.conditions, status.conditions),
        requeue=requeue,
        log={"reason": why.reason.value, "message": why.message} if why and acts else {},
    )
