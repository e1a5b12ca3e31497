"""The planner: from one observation to what is to be done now. Pure: no I/O, no clock but `observed.now`."""

from dataclasses import dataclass, replace

from modelpress.api import identity
from modelpress.api.conditions import Reason
from modelpress.api.status import Failure, RevisionReference
from modelpress.planning.artifacts import gate
from modelpress.planning.artifacts.artifact import Artifact
from modelpress.planning.artifacts.decision import ArtifactDecision, decide_artifact
from modelpress.planning.blockers import Desired, first_blocker
from modelpress.planning.children import objects, repairs, scaling
from modelpress.planning.children.missing import budget_warnings, missing, obsolete_budgets
from modelpress.planning.children.ownership import DELETION_WAIT_SECONDS
from modelpress.planning.conditions import Result
from modelpress.planning.events import transitions
from modelpress.planning.explanation import Explanation
from modelpress.planning.problems import waiting
from modelpress.planning.render import service
from modelpress.planning.rollouts import failures, revisions
from modelpress.planning.rollouts.revisions import Revision
from modelpress.planning.rollouts.rollout import Rollout, decide_rollout
from modelpress.planning.rollouts.strategy import gap_warnings
from modelpress.planning.status import assemble, to_body
from modelpress.planning.types import Body, Mark, Observed, Plan, Ref, Settings
from modelpress.planning.view import Facts, View, parse_spec


def decide(observed: Observed, settings: Settings) -> Plan:
    """Return what to do about one ModelDeployment now; an empty plan where all is as desired.

    A resource that is being deleted needs nothing: garbage collection follows the owner references.
    """
    facts = Facts(observed, settings)
    if objects.deleting(facts.resource):
        return Plan()
    try:
        view = View(observed, settings, parse_spec(facts.resource))
    except ValueError as error:
        return _finish(facts, _unreadable(facts, Explanation(Reason.INVALID_SPEC, str(error))))
    decisions = _decisions(view)
    removable = () if decisions.blocked else (*decisions.artifact.delete, *_obsolete(view, decisions))
    apply = missing(view, decisions.artifact, decisions.rollout, decisions.revisions)
    plan = _finish(
        view,
        _result(view, decisions),
        apply=apply,
        delete=(*obsolete_budgets(view), *removable),
        requeue=_requeue(view, decisions, apply),
    )
    warnings = (*gap_warnings(view, decisions.rollout.target), *budget_warnings(view))
    artifact = decisions.artifact
    return replace(
        plan,
        events=(*warnings, *plan.events),
        marks=(
            *artifact.marks,
            *decisions.failure_marks,
            *revisions.used_again(view, decisions.known, decisions.rollout.target),
        ),
        unseen=artifact.unseen,
        slot_since=_began(facts) if artifact.waits_for_slot else None,
    )


def _began(facts: Facts) -> str:
    """Return since when something is being done about the spec."""
    condition = objects.condition(facts.resource, "Reconciling") or {}
    began = condition.get("lastTransitionTime") if condition.get("status") == "True" else None
    return str(began or objects.format_time(facts.observed.now))


@dataclass(frozen=True)
class Decisions:
    """The loop's decisions, each made from those before it."""

    blocked: Explanation | None  # why nothing new may be made
    known: tuple[Revision, ...]  # those stored, and those that can be restored
    artifact: ArtifactDecision
    gate_failure: Explanation | None  # why the desired artifact does not pass
    desired: Revision | None  # what the spec asks for, where its artifact is known and passed
    rollout: Rollout

    @property
    def waits_for_deletion(self) -> bool:
        """Return whether what blocks goes away by itself."""
        return self.blocked is not None and self.blocked.reason is Reason.WAITING_FOR_DELETION

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """Return all revisions that may be needed; the desired one may be new."""
        is_new = self.desired is not None and not revisions.find(self.known, self.desired.name)
        return (*self.known, self.desired) if self.desired and is_new else self.known

    @property
    def failure_marks(self) -> tuple[Mark, ...]:
        """Return what to note on a ControllerRevision: that its rollout failed, or succeeded after all."""
        if self.rollout.completed:
            return failures.marks(None, self.rollout.target)
        failed = self.rollout.failed
        found = (each for each in self.known if failed and each.revision_hash == failed.revision_hash)
        return failures.marks(failed, next(found, None))


def _decisions(view: View) -> Decisions:
    known = revisions.with_restored(view, revisions.history(view))
    frozen = first_blocker(Desired(view.spec, view)) is not None or view.spec.suspend
    decision = decide_artifact(view, known, frozen=frozen)
    artifact, gate_failure, desired = decision.artifact, None, None
    if artifact:
        gate_failure = gate.judge(view.spec.evaluation, artifact.scores, artifact.compressed_bytes)
        desired = None if gate_failure else revisions.desired(view, known, artifact)
    blocked = first_blocker(Desired(view.spec, view, artifact, desired))
    start = None if blocked or view.spec.suspend else desired
    if gate_failure:
        start = _before_rejected(view, known)
    return Decisions(blocked, known, decision, gate_failure, desired, decide_rollout(view, known, start))


def _before_rejected(view: View, known: tuple[Revision, ...]) -> Revision | None:
    """Return the current revision where a rollout of what the gate now refuses is under way."""
    running = revisions.running(view, known)
    replaces = running is not None and running.artifact.recipe_hash == view.recipe_hash
    return revisions.find(known, view.current_name) if replaces else None


def _result(view: View, decisions: Decisions) -> Result:
    decision, rollout, desired = decisions.artifact, decisions.rollout, decisions.desired
    blocked, waits = decisions.blocked, decisions.waits_for_deletion
    current = _current(view, decisions)
    working = blocked if waits else decision.working or repairs.rejected(view.observed) or rollout.working
    stalled = (None if waits else blocked) or decision.stalled or decisions.gate_failure or rollout.stalled
    return Result(
        replicas=view.spec.replicas,
        current=current,
        candidate=_candidate(view, decisions, current),
        failed=_remembered(view, decisions, current),
        serving=_serves(desired, current, rollout),
        artifact=decision.artifact,
        passed=decisions.gate_failure is None if decision.artifact and view.spec.evaluation else None,
        url=service.url(view) if rollout.target else view.status.url,
        working=working,
        stalled=stalled or (None if working else scaling.explained(view)),
        suspended=view.spec.suspend,
    )


def _current(view: View, decisions: Decisions) -> RevisionReference | None:
    """Return the revision that serves, with the recipe by which its artifact was made last."""
    rollout, desired, artifact = decisions.rollout, decisions.desired, decisions.artifact.artifact
    current = rollout.target.reference if rollout.completed and rollout.target else view.status.current
    if current and desired and artifact and current.name == desired.name:
        return _made_by(current, artifact)
    return current


def _made_by(reference: RevisionReference, artifact: Artifact) -> RevisionReference:
    made = {"recipe_hash": artifact.recipe_hash, "source_digest": artifact.source_digest}
    return reference.model_copy(update=made)


def _serves(desired: Revision | None, current: RevisionReference | None, rollout: Rollout) -> bool:
    """Return whether the desired revision is current, or in place at zero replicas."""
    if desired is None:
        return False
    if rollout.idle and rollout.target is not None:
        return rollout.target.name == desired.name
    return current is not None and current.name == desired.name


def _candidate(
    view: View, decisions: Decisions, current: RevisionReference | None
) -> RevisionReference | None:
    """Return the revision that is being made, as far as it is known."""
    desired, artifact = decisions.desired, decisions.artifact.artifact
    if decisions.blocked:
        kept = view.status.candidate
        return kept if kept and (current is None or kept.name != current.name) else None
    if desired and current and desired.name == current.name:
        return None
    if decisions.rollout.stalled and decisions.rollout.target is not desired:
        return None
    if desired and (not view.spec.suspend or _serves(desired, None, decisions.rollout)):
        return _made_by(desired.reference, artifact) if artifact else desired.reference
    if artifact:
        return RevisionReference(
            source_digest=artifact.source_digest,
            recipe_hash=artifact.recipe_hash,
            artifact_digest=artifact.artifact_digest,
        )
    return RevisionReference(recipe_hash=view.recipe_hash) if decisions.artifact.job else None


def _remembered(view: View, decisions: Decisions, current: RevisionReference | None) -> Failure | None:
    gate_failure = decisions.gate_failure
    by_gate = failures.of_recipe(view, gate_failure) if gate_failure else None
    return failures.remembered(
        failures.Findings(
            view=view,
            failure=decisions.artifact.failed or by_gate or decisions.rollout.failed,
            blocked=decisions.blocked is not None,
            job=decisions.artifact.job,
            desired=decisions.desired,
            current=current,
        )
    )


def _unreadable(facts: Facts, why: Explanation) -> Result:
    """Return the result where the spec cannot be read: all stays as it is."""
    status = facts.status
    return Result(
        replicas=objects.number(facts.deployment, "spec", "replicas"),
        current=status.current,
        candidate=status.candidate,
        failed=status.failed,
        url=status.url,
        stalled=why,
    )


def _obsolete(view: View, decisions: Decisions) -> tuple[Ref, ...]:
    in_use = (decisions.desired, decisions.rollout.target, revisions.running(view, decisions.known))
    used = {revision.name for revision in in_use if revision} | {view.current_name or ""}
    return revisions.obsolete(view, decisions.known, used)


def _requeue(view: View, decisions: Decisions, apply: tuple[Body, ...]) -> float | None:
    waits = DELETION_WAIT_SECONDS if decisions.waits_for_deletion else None
    pods = waiting.look_again(view.worker_pods, view.observed.now)
    repair = repairs.look_again(view.observed, apply)
    moments = (waits, decisions.artifact.requeue, decisions.rollout.requeue, pods, repair)
    return min((due for due in moments if due is not None), default=None)


def _is_news(facts: Facts, body: Body) -> bool:
    """Return whether a status says what the resource does not, in the fields that this release knows.

    Those of another release are its own: two releases at once do not write in turns.
    """
    return body != to_body(facts.status) and identity.digest(body) != facts.observed.vain_status


def _finish(
    facts: Facts,
    result: Result,
    apply: tuple[Body, ...] = (),
    delete: tuple[Ref, ...] = (),
    requeue: float | None = None,
) -> Plan:
    status = assemble(facts, result)
    body = to_body(status)
    changed = _is_news(facts, body)
    why = result.stalled or result.working
    acts = bool(apply or delete or changed)
    return Plan(
        apply=apply,
        delete=delete,
        status=body if changed else None,
        events=transitions(facts.status.conditions, status.conditions),
        requeue=requeue,
        log={"reason": why.reason.value, "message": why.message} if why and acts else {},
    )
