"""Names, labels and annotations: deterministic, so that two operators write the same objects."""

import hashlib
import json
from collections.abc import Mapping

GROUP = "modelpress.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"

FIELD_MANAGER = "modelpress"
RESULT_MANAGER = "modelpress-result"  # owns what is added to a Job later; FIELD_MANAGER what it was made of

NAME_LABEL = f"{GROUP}/name"  # the ModelDeployment that an object belongs to
ROLE_LABEL = f"{GROUP}/role"  # WORKER or JOB
REVISION_LABEL = f"{GROUP}/revision"  # the ControllerRevision that a Deployment or pod was made from
RECIPE_LABEL = f"{GROUP}/recipe"  # the recipe hash of a Job
RETRY_ANNOTATION = f"{GROUP}/retry"  # any change: try a failed recipe or revision again
ATTEMPT_ANNOTATION = f"{GROUP}/attempt"  # how many Jobs before this one failed of what may heal by itself
LOST_ANNOTATION = f"{GROUP}/lost-results"  # how many Jobs before this one ended well and lost their result
RESULT_ANNOTATION = f"{GROUP}/result"  # on a Job: its result, which outlives its pod
USED_ANNOTATION = f"{GROUP}/used"  # on a ControllerRevision: its number when it was last rolled out again
FAILED_ANNOTATION = f"{GROUP}/failed"  # on a ControllerRevision: why it was given up, as in status.failed
RESTARTED_ANNOTATION = f"{GROUP}/restartedAt"  # any change: a new revision with the newest worker image
SETTINGS_ANNOTATION = f"{GROUP}/settings"  # on a Job: hash of spec.job and spec.storage
APPLIED_ANNOTATION = f"{GROUP}/applied"  # hash of what was applied last, on every child that is kept in place
LEFT_ANNOTATION = f"{GROUP}/left-to-autoscaler"  # on a Deployment: for which replicas and retry it is so

WORKER = "entry"  # a worker that takes requests; the value stays: selectors never change
JOB = "job"


def short(value: str) -> str:
    """Return ten hexadecimal digits that stand for `value` in a name."""
    return hashlib.sha256(value.encode()).hexdigest()[:10]


def job_name(resource: str, recipe_hash: str, retry: str | None, attempt: int = 0) -> str:
    """Return the name of the Job for a recipe; each retry value and each attempt has its own."""
    identity = recipe_hash + (retry or "")
    if attempt:  # as JSON: a retry may end like the number of an attempt, or be empty
        identity = json.dumps([recipe_hash, retry, attempt])
    return f"{resource}-{short(identity)}"


def revision_name(resource: str, revision_hash: str) -> str:
    """Return the name of a ControllerRevision."""
    return f"{resource}-{revision_hash[:10]}"


def labels(resource: str, component: str) -> dict[str, str]:
    """Return the labels of every child; `component` is `worker` or `compressor`.

    Never `app.kubernetes.io/instance`: Argo CD would take the child for part of an application and prune it.
    """
    return {
        NAME_LABEL: resource,
        "app.kubernetes.io/name": "modelpress",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "modelpress",
    }


def worker_selector(resource: str) -> dict[str, str]:
    """Return the labels that select the pods that take requests; they never change during an update."""
    return {NAME_LABEL: resource, ROLE_LABEL: WORKER}


def selector_text(selector: Mapping[str, str]) -> str:
    """Return a selector as `status.selector` and list calls write it."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
