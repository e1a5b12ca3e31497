"""The cluster as the reconciler sees it: observe, apply, delete, write status.

Implemented by `controllers.kubernetes_cluster` (an API server) and `local.cluster` (processes of this
machine).
"""

from collections.abc import Mapping
from typing import Any, Protocol

from modelpress.api.errors import ModelPressError
from modelpress.planning.types import Body, EventNote, Key, Mark, Observed, Ref


class TemplateRefused(ModelPressError):
    """The API server does not accept what the planner rendered (InvalidPodSettings, NameConflict, ...)."""


class ServerError(Exception):
    """The API server answered with an error."""


class Stale(Exception):
    """The observation is older than our own last write: look again when the watch has caught up."""


class Cluster(Protocol):
    """Effects of the control loop. Methods block; each may raise on network faults and is then retried."""

    def observe(self, key: Key) -> Observed | None:
        """Return what is known of a ModelDeployment, or None where it does not exist. Raises Stale."""
        ...

    def read_live(self, observed: Observed, jobs: tuple[Ref, ...]) -> Observed:
        """Return an observation in which the pods of these Jobs are read live.

        Raises Stale where people have changed the ModelDeployment since it was observed.
        """
        ...

    def annotate(self, mark: Mark) -> None:
        """Add annotations to an object with the UID of the mark; one that is gone already is fine."""
        ...

    def apply(self, body: Body) -> Mapping[str, Any]:
        """Server-side apply; Jobs and ControllerRevisions are created only. Raises TemplateRefused."""
        ...

    def check(self, body: Body) -> None:
        """Raise TemplateRefused where the API server would not accept an object; write nothing."""
        ...

    def delete(self, ref: Ref) -> None:
        """Delete with background propagation; an object that is gone already is fine. Raises Stale."""
        ...

    def wait_for_slot(self, key: Key, since: str | None) -> None:
        """Note since when a ModelDeployment waits for a slot of Jobs; None: it does not."""
        ...

    def write_status(self, resource: Body, status: Body) -> None:
        """Replace the status of a ModelDeployment."""
        ...

    def record(self, resource: Body, notes: tuple[EventNote, ...]) -> None:
        """Write events about a ModelDeployment; what cannot be written now is written by the next call."""
        ...
