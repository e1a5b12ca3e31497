"""The objects that a ModelDeployment leads to, for `modelpress plan`, before there is any cluster."""

from datetime import UTC, datetime
from typing import Any

from modelpress.planning.artifacts.artifact import Artifact
from modelpress.planning.children import objects
from modelpress.planning.render import deployment, disruptionbudget, job, networkpolicy, revision, service
from modelpress.planning.rollouts import revisions
from modelpress.planning.types import Body, Observed, Settings
from modelpress.planning.view import View, parse_spec

PLACEHOLDER_DIGEST = "sha256:" + "0" * 64  # stands for a digest that only the Job can know
PLACEHOLDER_BYTES = 0  # limits are shown without the artifact's part in them
PLACEHOLDER_UID = "00000000-0000-0000-0000-000000000000"


def preview(body: Body, settings: Settings) -> list[Body]:
    """Return the Job, and what follows when it has succeeded, with placeholders for UID and digests.

    `body` is a whole ModelDeployment. Raises ValueError with one line where its spec cannot be read.
    """
    spec = parse_spec(body)
    metadata: dict[str, Any] = {"uid": PLACEHOLDER_UID, **(objects.dig(body, "metadata") or {})}
    observed = Observed(resource={**body, "metadata": metadata}, now=datetime.fromtimestamp(0, UTC))
    view = View(observed, settings, spec)
    artifact = Artifact(
        view.recipe_hash,
        PLACEHOLDER_DIGEST,
        PLACEHOLDER_DIGEST,
        view.store,
        compressed_bytes=PLACEHOLDER_BYTES,
    )
    made = revisions.desired(view, (), artifact)
    return [
        networkpolicy.render(view),
        job.render(view),
        revision.render(view, made),
        service.render(view),
        deployment.render(view, made),
        *([disruptionbudget.render(view)] if disruptionbudget.is_desired(view) else []),
    ]
