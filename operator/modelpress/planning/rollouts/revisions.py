"""Revisions: an artifact together with the exact pod template that serves it, kept as ControllerRevisions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from modelpress.api import names
from modelpress.api.status import Failure, RevisionReference
from modelpress.planning.artifacts.artifact import Artifact, StoreLocation, from_data, from_status, store_in
from modelpress.planning.children import objects
from modelpress.planning.children.in_place import own_template
from modelpress.planning.children.ownership import Claim
from modelpress.planning.render.pod import worker_template
from modelpress.planning.types import Body, Mark, Ref
from modelpress.planning.view import Facts, View

HISTORY = 3  # revisions, and finished Jobs, kept beside those in use


@dataclass(frozen=True)
class Revision:
    """One revision; `number` grows with each that is made or rolled out again."""

    name: str
    revision_hash: str
    number: int
    artifact: Artifact
    worker_image: str
    template: Body
    stored: Ref | None = None  # in the cluster; else new, or restored from what else is known
    failed: Failure | None = None  # why its rollout was given up; of a stored one

    @property
    def reference(self) -> RevisionReference:
        """Return the revision as the status names it."""
        return RevisionReference(
            name=self.name,
            source_digest=self.artifact.source_digest,
            recipe_hash=self.artifact.recipe_hash,
            artifact_digest=self.artifact.artifact_digest,
            worker_image=self.worker_image,
        )

    def to_data(self) -> dict[str, Any]:
        """Return the data of the ControllerRevision."""
        return {
            **self.artifact.to_data(),
            "revisionHash": self.revision_hash,
            "workerImage": self.worker_image,
            "template": self.template,
        }


def history(facts: Facts) -> tuple[Revision, ...]:
    """Return our revisions, newest first; one that cannot be read is not among them."""
    bodies = [body for body in facts.observed.revisions if facts.claim(body) is Claim.OURS]
    found = [revision for body in bodies if (revision := _read(body)) is not None]
    return tuple(sorted(found, key=lambda revision: revision.number, reverse=True))


def find(known: Iterable[Revision], name: str | None) -> Revision | None:
    """Return the revision of a name."""
    return next((revision for revision in known if revision.name == name), None)


def running(facts: Facts, known: Iterable[Revision]) -> Revision | None:
    """Return the revision that the Deployment's pod template was made from."""
    return find(known, facts.running_revision)


def desired(view: View, known: tuple[Revision, ...], artifact: Artifact) -> Revision:
    """Return the revision of an artifact that the spec asks for: a stored one, or a new one.

    By which recipe the artifact was made does not count: a moved URI or a renamed Secret of a source whose
    content is the same restarts nothing. Of several the one that serves is taken.
    """
    same = [revision for revision in known if _is_asked_for(view, revision, artifact.artifact_digest)]
    serving = find(same, view.current_name) or find(same, view.running_revision)
    return serving or next(iter(same), None) or _render(view, known, artifact)


def _is_asked_for(view: View, revision: Revision, artifact_digest: str) -> bool:
    hashes = view.revision_hashes(artifact_digest, revision.artifact.recipe_hash)
    made = {names.revision_name(view.name, each) for each in hashes}
    return revision.name in made and _store(view, revision.artifact) == revision.artifact.store


def _store(view: View, artifact: Artifact) -> StoreLocation:
    """Return where an artifact is, with the Secret that the spec names for that store now."""
    moved = view.spec.storage is None or view.store.uri != artifact.store.uri
    return artifact.store if moved else view.store


def used_again(view: View, known: tuple[Revision, ...], target: Revision | None) -> tuple[Mark, ...]:
    """Return the mark that makes an old revision the newest when it is rolled out again."""
    body = objects.named(view.observed.revisions, target.name) if target else None
    if target is None or body is None or view.running_revision == target.name:
        return ()
    if target.number == _next_number(known) - 1:
        return ()
    used = {names.USED_ANNOTATION: str(_next_number(known))}
    return (Mark(objects.ref_to(body, "ControllerRevision"), used),)


def with_restored(view: View, known: tuple[Revision, ...]) -> tuple[Revision, ...]:
    """Return the known revisions and those that the status names but somebody deleted or took from us, as far
    as they can be restored: from an object without an owner, from what the running Deployment has of us, or
    where the spec still asks for them by rendering again.
    """
    restored = list(known)
    for reference in (view.status.current, view.status.candidate):
        if reference and reference.name and not find(restored, reference.name):
            revision = _restore(view, tuple(restored), reference)
            restored += [revision] if revision else []
    return tuple(restored)


def obsolete(facts: Facts, known: tuple[Revision, ...], used: set[str]) -> tuple[Ref, ...]:
    """Return the ControllerRevisions to delete: old ones, and any without a readable content or an owner."""
    unused = [revision.name for revision in known if revision.name not in used]
    kept = used | set(unused[:HISTORY])
    readable = {revision.name for revision in known if revision.stored}
    return tuple(
        objects.ref_to(body, "ControllerRevision")
        for body in facts.observed.revisions
        if _is_removable(facts, body, kept & readable)
    )


def _is_removable(facts: Facts, body: Body, kept: set[str]) -> bool:
    found = facts.claim(body)
    return found in (Claim.ADOPT, Claim.OURS) and objects.name_of(body) not in kept


def _read(body: Body) -> Revision | None:
    data = objects.dig(body, "data")
    try:
        return Revision(
            name=objects.name_of(body),
            revision_hash=str(data["revisionHash"]),
            number=max(objects.number(body, "revision"), objects.count(body, names.USED_ANNOTATION)),
            artifact=from_data(data),
            worker_image=str(data["workerImage"]),
            template=dict(data["template"]),
            stored=objects.ref_to(body, "ControllerRevision"),
            failed=_failure(body),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _failure(body: Body) -> Failure | None:
    """Return what was noted on a ControllerRevision that failed; None where nothing readable is."""
    noted = objects.annotation(body, names.FAILED_ANNOTATION)
    try:
        return Failure.model_validate_json(noted) if noted else None
    except ValidationError:
        return None


def _render(view: View, known: tuple[Revision, ...], artifact: Artifact) -> Revision:
    artifact = replace(artifact, store=_store(view, artifact))
    usual, other = view.revision_hashes(artifact.artifact_digest, artifact.recipe_hash)
    taken = find(known, names.revision_name(view.name, usual)) is not None
    revision_hash = other if taken else usual
    name = names.revision_name(view.name, revision_hash)
    return Revision(
        name=name,
        revision_hash=revision_hash,
        number=_next_number(known),
        artifact=artifact,
        worker_image=view.worker_image,
        template=worker_template(view, artifact, name, view.worker_image),
    )


def _restore(view: View, known: tuple[Revision, ...], reference: RevisionReference) -> Revision | None:
    body = objects.named(view.observed.revisions, reference.name) if reference.name else None
    if body is not None and view.claim(body) is Claim.ADOPT and (left := _read(body)):
        return left
    template = own_template(view.deployment) if view.running_revision == reference.name else None
    store = store_in(template) if template is not None else view.store
    artifact = from_status(reference, view.status, store)
    if artifact is None or reference.name is None or reference.worker_image is None:
        return None
    hashes = view.revision_hashes(artifact.artifact_digest, artifact.recipe_hash)
    asked_for = {names.revision_name(view.name, each): each for each in hashes}.get(reference.name)
    if template is None and asked_for:
        template = worker_template(view, artifact, reference.name, reference.worker_image)
    if template is None:
        return None
    return Revision(
        name=reference.name,
        # the whole hash of a revision that the spec no longer asks for is lost with its object
        revision_hash=asked_for or reference.name.removeprefix(f"{view.name}-"),
        number=_next_number(known),
        artifact=artifact,
        worker_image=reference.worker_image,
        template=template,
    )


def _next_number(known: tuple[Revision, ...]) -> int:
    return max((revision.number for revision in known), default=0) + 1
