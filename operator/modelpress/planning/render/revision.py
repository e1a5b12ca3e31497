"""A revision as a ControllerRevision."""

from typing import Any

from modelpress.planning.render.common import metadata
from modelpress.planning.rollouts.revisions import Revision
from modelpress.planning.view import Facts


def render(facts: Facts, revision: Revision) -> dict[str, Any]:
    """Return the ControllerRevision: created once, never changed."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata(facts, revision.name, "worker"),
        "revision": revision.number,
        "data": revision.to_data(),
    }
