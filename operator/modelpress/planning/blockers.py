"""Why nothing new may be made: violations that are looked for before any work, in one ordered list.

Each is named by what is wrong, and returns how to tell of it, or None. What runs goes on, and scales.
"""

from collections.abc import Callable
from dataclasses import dataclass

from modelpress.api.conditions import Reason
from modelpress.api.spec import Spec
from modelpress.api.validation import pod_shapes
from modelpress.api.validation.support import unsupported
from modelpress.planning.annotations import weakening
from modelpress.planning.artifacts.artifact import Artifact
from modelpress.planning.explanation import Explanation
from modelpress.planning.render.pod import reserved_variable
from modelpress.planning.rollouts.revisions import Revision
from modelpress.planning.view import View


@dataclass(frozen=True)
class Desired:
    """What is asked for, as far as it is known: `modelpress plan` has no cluster, a new spec no artifact."""

    spec: Spec
    view: View | None = None
    artifact: Artifact | None = None
    revision: Revision | None = None


def first_blocker(desired: Desired) -> Explanation | None:
    """Return the first violation."""
    return next((why for violation in _VIOLATIONS if (why := violation(desired)) is not None), None)


def _field_is_unsupported(desired: Desired) -> Explanation | None:
    missing = unsupported(desired.spec)
    return Explanation(Reason.NOT_SUPPORTED_YET, "; ".join(missing)) if missing else None


def _pod_setting_has_wrong_shape(desired: Desired) -> Explanation | None:
    problem = next(pod_shapes.problems(desired.spec), None)
    return Explanation(Reason.INVALID_SPEC, problem) if problem else None


def _variable_is_reserved(desired: Desired) -> Explanation | None:
    problem = reserved_variable(desired.spec)
    return Explanation(Reason.INVALID_POD_SETTINGS, problem) if problem else None


def _annotation_weakens_security(desired: Desired) -> Explanation | None:
    problem = weakening(desired.spec)
    return Explanation(Reason.INVALID_POD_SETTINGS, problem) if problem else None


def _name_is_taken(desired: Desired) -> Explanation | None:
    if desired.view is None:
        return None
    needed = ("Deployment", "Service", "NetworkPolicy")
    found = [
        why for kind in needed if (why := desired.view.name_conflict(kind, desired.view.name)) is not None
    ]
    conflicts = [why for why in found if why.reason is Reason.NAME_CONFLICT]
    return next(iter(conflicts or found), None)


def _model_cannot_be_split(desired: Desired) -> Explanation | None:
    spread, artifact = desired.spec.parallelism, desired.artifact
    if artifact is None or artifact.layers is not False or spread.tensor * spread.pipeline == 1:
        return None
    return Explanation(
        Reason.UNSUPPORTED_MODEL,
        "spec.parallelism: on GPU devices, pipeline and tensor need a model of layers (.keras, .h5);"
        " this one is a SavedModel",
    )


def _revision_name_is_taken(desired: Desired) -> Explanation | None:
    view, revision = desired.view, desired.revision
    if view is None or revision is None:
        return None
    return view.name_conflict("ControllerRevision", revision.name)


_VIOLATIONS: tuple[Callable[[Desired], Explanation | None], ...] = (
    _field_is_unsupported,  # a field that does nothing yet is refused, never ignored
    _pod_setting_has_wrong_shape,  # the CRD leaves these open; no template can be rendered from them
    _variable_is_reserved,  # ModelPress sets it in the containers
    _annotation_weakens_security,  # pods keep to the Pod Security Standard restricted
    _name_is_taken,  # a conflict, which only a person ends, comes before an object that goes away
    _model_cannot_be_split,  # told by the Job: a SavedModel has no layers to spread over GPUs
    _revision_name_is_taken,  # two names are never shared
)
