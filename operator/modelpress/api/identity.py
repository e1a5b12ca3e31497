"""The two identities that follow from the spec: the recipe (names a Job) and the revision (names a rollout).

Both hash only fields that differ from their defaults: a field that a later release adds changes no hash.
"""

import hashlib
import json
from typing import Any

from modelpress.api.evaluation import Evaluation
from modelpress.api.schemes import Scheme
from modelpress.api.spec import Spec


def digest(value: Any) -> str:
    """Return the SHA-256 of `value` as canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def recipe(spec: Spec) -> dict[str, Any]:
    """Return the fragment of the spec that an artifact and its scores depend on."""
    wire = spec.to_wire()
    keys = ("model", "data", "compression", "optimization")
    fragment: dict[str, Any] = {key: wire[key] for key in keys if key in wire}
    fragment["deviceType"] = spec.devices.type.value
    quantization = spec.compression.quantization if spec.compression else None
    if spec.evaluation:
        auto = quantization is not None and quantization.scheme is Scheme.AUTO
        fragment |= scoring(spec.evaluation, auto=auto)
    return fragment


def scoring(evaluation: Evaluation, *, auto: bool) -> dict[str, Any]:
    """Return what scores depend on; `auto`: and what `scheme: Auto` chooses by, all limits.

    The limits are without the metric Accuracy, which was the default once: it changes no hash.
    """
    wire = evaluation.to_wire()
    keys = ("metric", "threshold")
    found: dict[str, Any] = {key: wire[key] for key in keys if key in wire}
    if evaluation.outputs:
        named = sorted(wire["outputs"], key=lambda item: str(item["name"]))
        found["outputs"] = [{key: item[key] for key in ("name", *keys) if key in item} for item in named]
    if auto:
        limits = {key: value for key, value in wire.items() if (key, value) != ("metric", "Accuracy")}
        found["evaluation"] = limits
    return found


def job_settings_hash(spec: Spec) -> str:
    """Return the hash of what decides how a Job runs, but not what it makes.

    Of the spec only: neither a new operator release nor other defaults of it may replace a Job.
    """
    wire = spec.to_wire()
    return digest({key: wire[key] for key in ("job", "storage") if wire.get(key)})[:16]


def recipe_hash(spec: Spec) -> str:
    """Return the hash of what a Job depends on."""
    return digest(recipe(spec))


def revision_hash(
    spec: Spec,
    artifact_digest: str,
    restarted_at: str | None,
    recipe: str | None = None,
    storage_secret: str | None = None,
) -> str:
    """Return the hash of what a rollout depends on; never of the rendered template.

    So a new operator release, which may render pods differently, restarts nothing. `recipe` is the hash of
    the recipe that made the artifact first, where it is not the spec's: the same artifact may come of another
    one, such as a moved URI. `storage_secret` tells a revision from one that fetches the same artifact with
    another Secret.
    """
    wire = spec.to_wire()
    keys = ("parallelism", "devices", "serving", "worker")
    fragment: dict[str, Any] = {key: wire[key] for key in keys if key in wire}
    if storage_secret is not None:
        fragment["storageSecret"] = storage_secret
    return digest(
        {
            **fragment,
            "recipeHash": recipe or recipe_hash(spec),
            "artifactDigest": artifact_digest,
            "restartedAt": restarted_at,
        }
    )
