"""The compression Job of a recipe."""

from typing import Any

from modelpress.api import names
from modelpress.api.errors import FINAL_EXIT_CODES
from modelpress.planning.render.common import metadata
from modelpress.planning.render.pod import job_template, recipe_label
from modelpress.planning.view import View

KEPT_SECONDS = 86400  # a finished Job and its logs; its result is recorded long before


def render(view: View) -> dict[str, Any]:
    """Return the Job for the desired recipe: what no retry can change fails at once, disruptions are free."""
    settings = view.job_settings
    meta = metadata(view, view.job_name(), "compressor")
    own = {names.ROLE_LABEL: names.JOB, names.RECIPE_LABEL: recipe_label(view.recipe_hash)}
    meta["labels"] = {**(settings.labels or {}), **meta["labels"], **own}
    meta["annotations"] = {names.SETTINGS_ANNOTATION: view.job_settings_hash}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "backoffLimit": settings.backoff_limit,
            "activeDeadlineSeconds": settings.active_deadline_seconds,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "job",
                            "operator": "In",
                            "values": list(FINAL_EXIT_CODES),
                        },
                    },
                ]
            },
            "template": job_template(view),
        },
    }
