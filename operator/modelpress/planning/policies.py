"""Checks that come before any work: each returns why nothing new may be made, or None."""

from collections.abc import Callable

from modelpress.api import pod_shapes
from modelpress.api.conditions import Reason
from modelpress.api.spec import Spec
from modelpress.api.support import unsupported
from modelpress.planning import objects
from modelpress.planning.annotations import weakening
from modelpress.planning.artifact import Artifact
from modelpress.planning.note import Note, note
from modelpress.planning.ownership import obstacle
from modelpress.planning.render.pod import reserved_variable
from modelpress.planning.types import Body
from modelpress.planning.view import View


def hold(view: View) -> Note | None:
    """Return the first reason why the spec cannot be worked on now. What runs goes on, and scales."""
    return next((why for check in _CHECKS if (why := check(view)) is not None), None)


def refused(spec: Spec) -> Note | None:
    """Return why a spec cannot be worked on, whatever the cluster holds: `modelpress plan` says it, too."""
    return _unsupported(spec) or refused_settings(spec)


def unsuitable(view: View, artifact: Artifact) -> Note | None:
    """Return why an artifact cannot be spread over devices as the spec says, as far as its Job told."""
    spread = view.spec.parallelism
    if artifact.layers is False and spread.tensor * spread.pipeline > 1:
        return note(
            Reason.UNSUPPORTED_MODEL,
            "spec.parallelism: on GPU devices, pipeline and tensor need a model of layers (.keras, .h5);"
            " this one is a SavedModel",
        )
    return None


def refused_settings(spec: Spec) -> Note | None:
    """Return why settings of pods have the wrong shape, or would change what ModelPress itself sets."""
    shape = next(pod_shapes.problems(spec), None)
    if shape:
        return note(Reason.INVALID_SPEC, shape)
    why = reserved_variable(spec) or weakening(spec)
    return note(Reason.INVALID_POD_SETTINGS, why) if why else None


def _unsupported(spec: Spec) -> Note | None:
    missing = unsupported(spec)
    return note(Reason.NOT_SUPPORTED_YET, "; ".join(missing)) if missing else None


def _has_good_spec(view: View) -> Note | None:
    return refused(view.spec)


def _has_its_names(view: View) -> Note | None:
    """Return the first obstacle; a conflict, which only a person ends, before a wait."""
    observed = view.observed
    needed: tuple[tuple[str, tuple[Body, ...]], ...] = (
        ("Deployment", observed.deployments),
        ("Service", observed.services),
        ("NetworkPolicy", observed.network_policies),
    )
    found = [
        why
        for kind, bodies in needed
        if (body := objects.named(bodies, view.name)) is not None
        and (why := obstacle(body, view.resource, kind)) is not None
    ]
    conflicts = [why for why in found if why.reason is Reason.NAME_CONFLICT]
    return next(iter(conflicts or found), None)


_CHECKS: tuple[Callable[[View], Note | None], ...] = (
    _has_good_spec,
    _has_its_names,
)
